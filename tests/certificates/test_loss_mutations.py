"""Mutations of true certificates of every loss and bias: none that proves a false claim is accepted.

The truth is recomputed without the checker: dual values and objectives in rational numbers and 60 decimals, the domain
with them, and the price of W at many directions, at immense hidden biases too where these are free.
"""

import math
from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from certificates import Certificate, Training, Verdict, check, write_certificate
from certificates.failure import ProofFailure
from certificates.making.assemble import certify, residual_dual
from certificates.subdivision import Subdivision
from certificates.training import dual_value, network_objective
from certnet.jobs.train import train
from formulations import Dual, TrainingProgram, merge_rows
from formulations._validation import FloatArray
from tests.certificates.altering import mutate_entry, replace
from tests.certificates.by_hand import BIASES, LOSSES, every, forged, problem
from tests.certificates.truth import ERROR, true_dual_value, true_objective
from tests.strategies import networks, rng


def certified() -> list[Certificate]:
    """Certificates of the advocate, with products, and of a search over cones, both as tight as they get."""
    made = []
    kinds = [("none", "penalised"), ("penalised", "free"), ("free", "free")]
    for number, loss in enumerate(LOSSES):
        hidden, output = kinds[number % 3]
        s = problem(loss, hidden, output, weighted=True, seed=number)
        program = program_of(s)
        merged, random = merge_rows(program), rng(number)
        U, V = min(networks(program, number), key=lambda network: program.objective(*network))
        N = 0.02 * random.random((2 * merged.program.space.neurons,) * 2)
        duals = [residual_dual(merged, U, V), Dual(residual_dual(merged, U, V).W, N + N.T)]
        made.append(certify(merged, duals, U, V)[0])
    for number, loss in enumerate(("squared", "huber:0.75", "squared-hinge", "logistic", "cross-entropy", "poisson")):
        s = problem(loss, "free", "free", weighted=True, seed=number, d=1)
        result = train(program_of(s), method="global", gap=1e-3)
        assert isinstance(result.certificate.proof, Subdivision)
        assert result.report.gap <= 1e-3
        made.append(result.certificate)
    return made


def program_of(s: Training) -> TrainingProgram:
    X = s.X if s.hidden_bias == "none" else s.X[:, :-1]
    biases = {"hidden_bias": s.hidden_bias, "output_bias": s.output_bias}
    return TrainingProgram(X, s.Y, s.gamma, loss=s.loss, sample_weight=s.sample_weight, **biases)


@cache
def bases() -> list[Certificate]:
    """What is altered; made when the first test asks, since workers of the suite that run none need not wait."""
    return [*every(), *every(subdivided=True), *certified()]


def nudged(random: np.random.Generator, array: FloatArray) -> FloatArray:
    """One entry moved by one unit in its last place, or two of them by the same amount in opposite directions."""
    copy = array.copy()
    first, second = random.integers(copy.size, size=2)
    step = np.spacing(copy.flat[first]) * float(random.choice([-1.0, 1.0]))
    copy.flat[first] += step
    copy.flat[second] -= step * float(random.choice([0.0, 1.0]))
    return copy


def mutate(random: np.random.Generator, c: Certificate) -> Certificate:
    """One to three changes; as a rule the fingerprint and the claims follow."""
    for _ in range(int(random.integers(1, 4))):
        entry = nudged if random.random() < 0.3 else mutate_entry
        match str(
            random.choice(["W", "W", "scale", "loss", "bias", "weight", "data", "network", "proof", "ball", "gamma"])
        ):
            case "W":
                c = replace(c, W=entry(random, c.W))
            case "scale":
                axis, factor = int(random.integers(2)), random.choice([-1.0, 0.5, 1 + 1e-15, 2.0, 4.0])
                W = factor * c.W if random.random() < 0.5 else random.permutation(c.W, axis=axis)
                c = replace(c, W=W)
            case "loss":
                c = replace(c, loss=str(random.choice([*LOSSES, "huber:1e-05", "quantile:0.999", "mean"])))
            case "bias":
                c = replace(c, **{str(random.choice(["hidden_bias", "output_bias"])): str(random.choice(BIASES))})
            case "weight":
                c = replace(c, sample_weight=entry(random, c.sample_weight))
            case "data":
                name = str(random.choice(["X", "Y"]))
                c = replace(c, **{name: entry(random, getattr(c, name))})
            case "network":
                name = str(random.choice(["U", "V", "output"]))
                c = replace(c, **{name: entry(random, getattr(c, name))})
            case "proof":
                subdivided = isinstance(c.proof, Subdivision)
                name = str(random.choice(["basis", "sigma"] if subdivided else ["complementarity", "sigma"]))
                array = getattr(c.proof, name)
                c = replace(c, proof=replace(c.proof, **{name: entry(random, array) if array.size else array}))
            case "ball" if c.ball.size:
                c = replace(c, ball=entry(random, c.ball))
            case "gamma":
                c = replace(c, gamma=float(entry(random, np.array([c.gamma]))[0]))
    return forge(random, c) if random.random() < 0.9 else c


def forge(random: np.random.Generator, c: Certificate) -> Certificate:
    """What is claimed follows; where W has no value, something bold is claimed."""
    with np.errstate(all="ignore"):
        try:
            objective = network_objective(c.statement, c.U, c.V, c.output)
        except (ProofFailure, ValueError, OverflowError):
            return c
        try:
            bound = dual_value(c.statement, c.W)
        except (ProofFailure, ValueError, OverflowError):
            bound = objective * random.random()
    bound = bound if math.isfinite(bound) else 0.0
    return forged(c, lower_bound=bound, objective=objective if math.isfinite(objective) else c.objective)


def directions(c: Certificate) -> FloatArray:
    """Random ones and those at which a row changes its sign; with a free bias many biases."""
    random, d = rng(0), c.X.shape[1]
    U = np.hstack([random.standard_normal((d, 600)), c.X.T, -c.X.T])
    if c.hidden_bias == "free":
        U[-1] *= 10.0 ** random.uniform(-2, 4, U.shape[1])
    return U


def is_true(c: Certificate) -> bool:
    s, U = c.statement, directions(c)
    with np.errstate(all="ignore"):
        price = np.linalg.norm(c.W.T @ np.maximum(c.X @ U, 0.0), axis=0)
        paid = np.linalg.norm(U[:-1] if s.hidden_bias == "free" else U, axis=0)
        rounding = 1e-13 * np.abs(c.W).sum() * np.abs(c.X).max() * np.abs(U).max(axis=0)
        if not (price <= s.gamma * paid * (1 + 1e-9) + rounding).all():
            return False
    if not Fraction(c.lower_bound) <= true_dual_value(s, c.W) + ERROR:
        return False
    own, idle = true_objective(s, c.U, c.V, c.output), true_objective(s, c.U[:, :0], c.V[:, :0], 0.0 * c.output)
    return Fraction(c.lower_bound) <= min(own, idle) + ERROR and own <= Fraction(c.objective) + ERROR


def run(count: int, seed: int, arithmetic: str) -> Counter[str]:
    random, tally = rng(seed), Counter[str]()
    for number in range(count):
        base = bases()[number % len(bases())]
        mutant = mutate(random, base)
        report = check(mutant, arithmetic="float" if isinstance(mutant.proof, Subdivision) else arithmetic)
        assert report.reason
        tally[report.verdict] += 1
        if report.verdict is Verdict.PROVED:
            assert is_true(mutant), (number, report)
        if report.verdict is Verdict.REFUTED:
            assert mutant.lower_bound > report.objective or "zero network" in report.reason
    return tally


@pytest.mark.slow
def test_the_base_certificates_are_true_and_the_judge_knows_false_ones() -> None:
    for number, c in enumerate(bases()):
        assert is_true(c)
        if number % 3:
            continue
        assert not is_true(replace(c, lower_bound=np.nextafter(c.lower_bound, np.inf) + 1e-14))
        assert not is_true(replace(c, W=1e6 * c.W, lower_bound=-1e300))
        assert not is_true(replace(c, objective=c.objective * (1 - 1e-9)))


def test_no_mutation_proves_a_false_claim() -> None:
    tally = run(len(bases()), 1, "float")
    # Both outcomes must occur, or the test says nothing.
    assert tally[Verdict.PROVED] > 10
    assert tally[Verdict.UNKNOWN] > 30


@pytest.mark.slow
@pytest.mark.parametrize(("arithmetic", "count"), [("exact", 2000), ("ball", 2000), ("float", 6000)])
def test_ten_thousand_mutations(arithmetic: str, count: int) -> None:
    tally = run(count, 2, arithmetic)
    assert tally[Verdict.PROVED] > 0.02 * count
    assert tally[Verdict.UNKNOWN] > 0.3 * count


@pytest.mark.parametrize("count", [None, pytest.param(400, marks=pytest.mark.slow)], ids=["each once", "many"])
def test_the_second_checker_agrees(count: int | None, tmp_path: Path, minimal_checker: ModuleType) -> None:
    """Apart from claims within rounding of the truth: the main checker rounds objectives.

    On the leaves of a subdivision each rounds in its own way, and the search leaves hardly any room there; so either
    may prove what the other does not, a little more than nothing.
    """
    random, path, tally = rng(4), tmp_path / "a.cert", Counter[tuple[str, str]]()
    count = count or len(bases())
    for number in range(count):
        mutant = mutate(random, bases()[number % len(bases())])
        if not all(math.isfinite(x) for x in (mutant.gamma, mutant.lower_bound, mutant.objective)):
            continue  # the manifest cannot hold such a number
        write_certificate(path, mutant)
        theirs, reason = minimal_checker.check_file(path)
        report = check(mutant, arithmetic="float" if isinstance(mutant.proof, Subdivision) else "exact")
        tally[theirs, report.verdict.value] += 1
        if {theirs, report.verdict.value} == {"PROVED", "UNKNOWN"}:
            leaf = "on a leaf" in reason and isinstance(mutant.proof, Subdivision)
            assert theirs == "PROVED" or leaf, (reason, report)
            assert isinstance(mutant.proof, Subdivision) or "objective" in report.reason
            assert is_true(mutant)
        assert {theirs, report.verdict.value} != {"PROVED", "REFUTED"}, (reason, report)
        if theirs == "UNKNOWN" and report.verdict is Verdict.REFUTED:
            assert reason.startswith("Unreadable"), (reason, report)
    assert tally["PROVED", "PROVED"] > 0.05 * count
    assert tally["UNKNOWN", "UNKNOWN"] > 0.3 * count
    assert sum(number for (one, other), number in tally.items() if one != other) <= 0.05 * count
