"""Thousands of mutations of true certificates: none that proves a false claim is accepted.

The truth is recomputed without the checker: ``h(W)`` exactly in the plane (largest singular value in every cell of the
line arrangement, restricted to the cell) and by dense sampling in space, the dual value and objectives in rational
arithmetic. A mutation that leaves a true claim may pass.
"""

import io
import math
import zipfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from certificates import Certificate, Verdict, check, fingerprint, read_certificate, write_certificate
from certificates.making.assemble import certify, residual_dual
from certificates.proof import LiftedProof
from certificates.subdivision import Subdivision
from certificates.training import dual_value, network_objective
from certnet.jobs.train import train
from certnet.search.certificate import LeafRepair, certify_search
from certnet.search.price import search
from certnet.training import fit
from formulations import Dual, InputError, TrainingProgram, merge_rows, presolve
from tests.certificates.altering import mutate_entry, replace
from tests.certificates.proofs import tree_certificate
from tests.strategies import networks, rng


def _planar() -> TrainingProgram:
    random = rng(5)
    return TrainingProgram(random.standard_normal((5, 2)), random.standard_normal((5, 1)), 0.2)


def _subdivided() -> Certificate:
    result = train(_planar(), method="global", gap=1e-4)
    assert result.report.gap <= 1e-4
    assert isinstance(result.certificate.proof, Subdivision)
    assert result.certificate.proof.leaves > 1
    return result.certificate


def _searched() -> Certificate:
    program = _planar()
    presolved = presolve(program)
    assert presolved is not None
    network = fit(program)
    W = presolved.apply_dual(residual_dual(presolved.rows, network.U, network.V)).W
    enough = presolved.program.gamma * (1 + 1e-4)
    found = search(presolved.program, W, enough=enough, confirm=LeafRepair(presolved, W).price)
    certificate, report = certify_search(presolved, found, network.U, network.V)
    assert report.gap <= 1e-3
    assert isinstance(certificate.proof, LiftedProof)
    assert certificate.proof.leaves > 1
    return certificate


@cache
def bases() -> list[Certificate]:
    """True certificates: with and without multipliers, merged rows, zero rows, a bias, tiny units, split trees (one
    by hand, one by a search) and a subdivision; both searches prove a small gap."""
    made = [tree_certificate(), _searched(), _subdivided()]
    for seed, (n, d, c, scale) in enumerate(
        [(4, 2, 1, 1.0), (5, 2, 2, 1.0), (5, 2, 2, 1e-6), (6, 3, 2, 1.0), (4, 2, 1, 1e4)]
    ):
        random = rng(seed)
        X = random.standard_normal((n, d)) * scale
        if seed % 2:
            X[1], X[2] = 0.0, -2.0 * X[0]
        program = TrainingProgram(
            X, random.standard_normal((n, c)), 0.2 * scale, hidden_bias="penalised" if seed == 1 else "none"
        )
        merged = merge_rows(program)
        U, V = min(networks(program, seed), key=lambda network: program.objective(*network))
        m = merged.program.space.neurons
        N = 0.02 * scale**2 * random.random((2 * m, 2 * m))
        duals = [Dual(merged.merge_W(program.dual(U, V)), N + N.T)] if seed else []
        certificate, report = certify(merged, [*duals, residual_dual(merged, U, V)], U, V)
        assert report.verdict is Verdict.PROVED
        made.append(certificate)
    return made


def directions(X: np.ndarray) -> np.ndarray:
    """Unit vectors at which ‖Wᵀ(Xu)₊‖ is tried: a fine circle with all kinks in the plane, random ones else."""
    d = X.shape[1]
    if d == 1:
        return np.array([[1.0, -1.0]])
    if d == 2:
        kinks = np.arctan2(X[:, 0], -X[:, 1])
        angles = np.concatenate([np.linspace(0, 2 * np.pi, 2000), kinks, kinks + np.pi])
        return np.stack([np.cos(angles), np.sin(angles)])
    U = np.hstack([rng(0).standard_normal((d, 4000)), X.T, -X.T])
    norm = np.linalg.norm(U, axis=0)
    return U[:, norm > 0] / norm[norm > 0]


def is_true(certificate: Certificate) -> bool:
    """Whether the dual is feasible, its value bears the claim, and the network reaches the claimed objective."""
    X, Y, W, gamma = certificate.X, certificate.Y, certificate.W, certificate.gamma
    with np.errstate(all="ignore"):
        h = np.linalg.norm(W.T @ np.maximum(X @ directions(X), 0.0), axis=0)
    if not (h <= gamma * (1 + 1e-9)).all():
        return False
    exact = [Fraction(float(x)) for x in (*W.flat, *Y.flat)]
    w, y = exact[: W.size], exact[W.size :]
    value = sum((a * b - a * a / 2 for a, b in zip(w, y, strict=True)), Fraction(0))
    if Fraction(certificate.lower_bound) > value:
        return False
    residual = np.maximum(X @ certificate.U, 0) @ certificate.V.T - Y
    objective = 0.5 * np.sum(residual**2) + 0.5 * gamma * (np.sum(certificate.U**2) + np.sum(certificate.V**2))
    return bool(certificate.objective >= objective * (1 - 1e-9) and certificate.lower_bound <= objective * (1 + 1e-9))


PROOF_ARRAYS = {
    LiftedProof: ["multipliers", "complementarity", "pairs", "split", "children", "leaf"],
    Subdivision: ["basis", "codes", "positions"],
}


def mutate_tree(random: np.random.Generator, proof: Subdivision) -> Subdivision:
    """The tree without one of its cuts, with its nodes or positions in another order, or for another basis."""
    cuts = np.flatnonzero(proof.codes != -1)
    match random.integers(4):
        case 0 if len(cuts):
            node = int(random.choice(cuts))
            end, need = node, 1
            # An earlier mutation may have left the tree incomplete.
            while need and end < len(proof.codes):
                need += 1 if proof.codes[end] != -1 else -1
                end += 1
            codes = np.concatenate([proof.codes[:node], [-1], proof.codes[end:]])
            before, within = np.count_nonzero(cuts < node), np.count_nonzero((cuts >= node) & (cuts < end))
            return replace(proof, codes=codes, positions=np.delete(proof.positions, slice(before, before + within)))
        case 1:
            return replace(proof, codes=random.permutation(proof.codes))
        case 2:
            return replace(proof, positions=random.permutation(proof.positions))
        case _:
            return replace(proof, basis=random.permutation(proof.basis, axis=int(random.integers(2))))


def mutate(random: np.random.Generator, certificate: Certificate) -> Certificate:
    """One to three changes anywhere; sometimes a forger adjusts fingerprint and claims to match."""
    for _ in range(int(random.integers(1, 4))):
        kind = random.choice(["data", "W", "network", "proof", "gamma", "claim", "rows", "scale", "other", "drop"])
        c = certificate
        if kind == "data":
            name = str(random.choice(["X", "Y"]))
            certificate = replace(c, **{name: mutate_entry(random, getattr(c, name))})
        elif kind == "W":
            certificate = replace(c, W=mutate_entry(random, c.W))
        elif kind == "network":
            name = str(random.choice(["U", "V"]))
            certificate = replace(c, **{name: mutate_entry(random, getattr(c, name))})
        elif kind == "proof":
            name = str(random.choice(PROOF_ARRAYS[type(c.proof)]))
            certificate = replace(c, proof=replace(c.proof, **{name: mutate_entry(random, getattr(c.proof, name))}))
        elif kind == "gamma":
            certificate = replace(c, gamma=float(mutate_entry(random, np.array([c.gamma]))[0]))
        elif kind == "claim":
            name = str(random.choice(["lower_bound", "objective"]))
            certificate = replace(c, **{name: float(mutate_entry(random, np.array([getattr(c, name)]))[0])})
        elif kind == "rows":
            name = str(random.choice(["X", "Y", "W"]))
            certificate = replace(c, **{name: random.permutation(getattr(c, name))})
        elif kind == "scale":
            certificate = replace(c, W=c.W * random.choice([1 + 1e-15, 1 + 1e-12, 1 + 1e-8, 1.1, 2.0, -1.0, 0.9]))
        elif kind == "other":
            other = bases()[int(random.integers(len(bases())))]
            name = str(random.choice(["W", "proof", "X", "Y", "U", "source", "generator"]))
            certificate = replace(c, **{name: getattr(other, name)})
        elif isinstance(c.proof, Subdivision):
            certificate = replace(c, proof=mutate_tree(random, c.proof))
        elif len(c.proof.multipliers) > 1:
            keep = int(random.integers(len(c.proof.multipliers)))
            pairs, values = c.proof.pairs[:keep], c.proof.multipliers[:keep]
            offset = np.minimum(c.proof.pair_offset, keep)
            certificate = replace(c, proof=replace(c.proof, pairs=pairs, multipliers=values, pair_offset=offset))
    if random.random() < 0.7:
        certificate = forge(certificate)
    return certificate


def forge(c: Certificate) -> Certificate:
    """Make fingerprint and claims follow, so that only the mathematics can object."""
    with np.errstate(all="ignore"):
        try:
            bound = dual_value(c.statement, c.W)
            objective = network_objective(c.statement, c.U, c.V, c.output)
        except ValueError:
            return c
        mark = fingerprint(c.X, c.Y)
    bound = bound if math.isfinite(bound) else c.lower_bound
    objective = objective if math.isfinite(objective) else c.objective
    return replace(c, data_fingerprint=mark, lower_bound=bound, objective=objective)


def run(count: int, seed: int, arithmetic: str) -> dict[Verdict, int]:
    random = rng(seed)
    tally = dict.fromkeys(Verdict, 0)
    for number in range(count):
        mutant = mutate(random, bases()[number % len(bases())])
        report = check(mutant, arithmetic=arithmetic)
        tally[report.verdict] += 1
        assert report.reason
        if report.verdict is Verdict.PROVED:
            assert is_true(mutant), (number, report)
        if report.verdict is Verdict.REFUTED:
            trivial = 0.5 * float(np.sum(mutant.Y**2))
            assert mutant.lower_bound > min(report.objective, trivial * (1 + 1e-9)), (number, report)
    return tally


def test_the_base_certificates_are_true() -> None:
    for certificate in bases():
        assert is_true(certificate)
        assert check(certificate).verdict is Verdict.PROVED
        # Only what floating point can enclose is asked of a subdivision.
        unsupported = isinstance(certificate.proof, Subdivision)
        assert check(certificate, arithmetic="exact").verdict is (Verdict.UNKNOWN if unsupported else Verdict.PROVED)


def test_the_judge_knows_false_claims() -> None:
    """The independent judge is no rubber stamp."""
    for certificate in bases():
        assert not is_true(replace(certificate, lower_bound=certificate.lower_bound + 0.01))
        assert not is_true(replace(certificate, W=50.0 * certificate.W, lower_bound=-1e9))
        assert not is_true(replace(certificate, objective=0.5 * certificate.objective))


@pytest.mark.parametrize("arithmetic", ["exact", "float"])
def test_no_mutation_proves_a_false_claim(arithmetic: str) -> None:
    tally = run(100, 1, arithmetic)
    # Both outcomes must occur, or the test says nothing.
    assert tally[Verdict.PROVED] > 1
    assert tally[Verdict.UNKNOWN] > 35


@pytest.mark.slow
@pytest.mark.parametrize(("arithmetic", "count"), [("exact", 2500), ("ball", 2000), ("float", 5500)])
def test_many_mutations(arithmetic: str, count: int) -> None:
    tally = run(count, 2, arithmetic)
    assert tally[Verdict.PROVED] > 15
    assert tally[Verdict.UNKNOWN] > 1000


def test_files_cut_reordered_and_mixed(tmp_path: Path) -> None:
    paths = []
    for number, certificate in enumerate(bases()):
        paths.append(tmp_path / f"{number}.cert")
        write_certificate(paths[-1], certificate)
    random = rng(7)
    for path, certificate in zip(paths, bases(), strict=True):
        whole = path.read_bytes()
        for _ in range(30):
            path.write_bytes(whole[: int(random.integers(len(whole)))])
            with pytest.raises(InputError):
                read_certificate(path)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        random.shuffle(members)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                archive.writestr(name, data)
        shuffled = read_certificate(path)
        assert check(shuffled).verdict is Verdict.PROVED
        assert shuffled.lower_bound == certificate.lower_bound
        other = bases()[0] if certificate is not bases()[0] else bases()[1]
        for name in ("arrays/proofs/0/W.bin", "manifest.json", "arrays/statement/X.bin"):
            foreign = tmp_path / "other.cert"
            write_certificate(foreign, other)
            with zipfile.ZipFile(foreign) as archive:
                stolen = archive.read(name)
            with zipfile.ZipFile(path, "w") as archive:
                for member, data in members:
                    archive.writestr(member, stolen if member == name else data)
            with pytest.raises(InputError):
                read_certificate(path)
