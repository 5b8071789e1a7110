"""Making an optimality certificate from whatever duals are at hand, and proving it before anyone sees it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from certificates.arithmetic import Arithmetic
from certificates.certificate import Certificate, Training, TrainingProof, fingerprint
from certificates.checker import check
from certificates.making.exact import exact
from certificates.making.repair import MARGIN, RepairedDual, repair
from certificates.making.tree import LeafProof, build
from certificates.proof import LiftedProof
from certificates.report import Report, Verdict
from certificates.subdivision import Subdivision
from certificates.training import dual_value, network_objective
from formulations import Dual, MergedRows, Program, TrainingProgram
from formulations.arrays import FloatArray
from formulations.circuits import CircuitSet
from formulations.errors import InputError
from formulations.groups import GroupedDual
from formulations.losses import name_of
from formulations.program import NO_PRODUCTS

NEGLIGIBLE = 1e-12
MARGINS = tuple(MARGIN * 10.0**k for k in range(8))
"""Tried in turn between repair and check."""


def program_of(certificate: Certificate) -> TrainingProgram:
    """The training problem that a certificate of training is about."""
    X = certificate.X if certificate.hidden_bias == "none" else certificate.X[:, :-1]
    return TrainingProgram(
        X,
        certificate.Y,
        certificate.gamma,
        loss=certificate.loss,
        sample_weight=certificate.sample_weight,
        hidden_bias=certificate.hidden_bias,
        output_bias=certificate.output_bias,
    )


def residual_dual(merged: MergedRows, U: FloatArray, V: FloatArray) -> Dual:
    """The dual that every network offers: the slope of its loss, without multipliers."""
    return Dual(merged.merge_W(merged.original.dual(U, V)), NO_PRODUCTS)


def drop_negligible(merged: MergedRows, dual: Dual) -> Dual:
    """Set multipliers to zero that are below ``NEGLIGIBLE`` of the largest, measured at inequalities of unit size.

    A dual in groups comes back as it is; its repair does the same.
    """
    if isinstance(dual, GroupedDual):
        return dual
    if not dual.N.any():
        return Dual(dual.W, NO_PRODUCTS)
    program = merged.program
    generator = np.linalg.norm(program.space.generators, axis=1)
    both = np.concatenate([generator, generator])
    rows = program.inequalities
    phi, z = rows[:, : len(both)] * both, rows[:, len(both) :]
    norm = np.concatenate([both, np.hypot(np.linalg.norm(phi, axis=1), np.linalg.norm(z, axis=1))])
    size = np.abs(np.where(np.isfinite(dual.N), dual.N, 0.0)) * np.outer(norm, norm)
    return Dual(dual.W, np.where(size <= NEGLIGIBLE * size.max(initial=0.0), 0.0, dual.N))


def assemble(
    merged: MergedRows,
    repaired: RepairedDual,
    U: FloatArray,
    V: FloatArray,
    provenance: Mapping[str, Any],
    *,
    circuits: CircuitSet | None = None,
) -> Certificate:
    """Write a repaired dual and a network down as a certificate; see ``assemble_proof`` and ``require_named``."""
    neurons, N = merged.program.space.neurons, repaired.N
    require_named(merged.program, circuits)
    leaf, groups = LeafProof.from_matrix(N, repaired.t) if N.size else LeafProof.plain(repaired.t), None
    if repaired.grouped is not None:
        leaf, groups = LeafProof.from_groups(repaired.grouped, repaired.t), repaired.grouped.groups.labels
    leaf = replace(leaf, sigma=sigma_of(merged.original, repaired.sigma))
    proof = build(leaf, neurons, circuits=circuits, quadratics=len(leaf.sigma), groups=groups)
    return assemble_proof(merged, repaired.W, proof, U, V, provenance)


def require_named(program: Program, circuits: CircuitSet | None) -> None:
    """Raise InputError unless there is a circuit for each inequality of a program besides its signs."""
    count = len(program.inequalities)
    if (0 if circuits is None else len(circuits)) != count:
        raise InputError(f"the program has {count} inequalities besides the signs; name the circuit of each of them.")


def assemble_proof(
    merged: MergedRows,
    W: FloatArray,
    proof: LiftedProof | Subdivision,
    U: FloatArray,
    V: FloatArray,
    provenance: Mapping[str, Any],
) -> Certificate:
    """A certificate from a dual W (f×c) of the merged program, a proof that its price is at most γ, and a network.

    The network gets its best output bias. Claims are rounded outwards. Proves nothing yet.
    """
    original, rows = merged.original, merged.rows
    statement = statement_of(original)
    W = exact(original, merged.undo_W(W))
    given = (U, V, original.output(U, V))
    U, V, a = (np.ascontiguousarray(array, dtype=np.float64) for array in given)
    return Certificate(
        statement,
        (TrainingProof(W, rows.source, rows.generator, proof, U, V, a, original.ball),),
        {"lower_bound": dual_value(statement, W), "objective": network_objective(statement, U, V, a)},
        dict(provenance),
    )


def sigma_of(program: TrainingProgram, sigma: float) -> FloatArray:
    """The multiplier of a proof for the region of a free hidden bias, (1,), or (0,) without one.

    ``sigma`` is that of ``Program.region``, the region's form in units of R².
    """
    return np.array([sigma / program.ball[-1]]) if len(program.ball) else np.zeros(0)


def statement_of(program: TrainingProgram) -> Training:
    """What a certificate of a training program is about."""
    X, Y, omega = program.X, program.Y, program.loss.sample_weight
    loss, biases = name_of(program.loss.kind), (program.hidden_bias, program.output_bias)
    return Training(X, Y, program.gamma, *biases, loss, omega, fingerprint(X, Y, omega))


def replace_network(certificate: Certificate, U: FloatArray, V: FloatArray, a: FloatArray) -> Certificate:
    """A training certificate with another network (d×m, c×m, c), whose objective is claimed rounded up."""
    U, V, a = (np.ascontiguousarray(array, dtype=np.float64) for array in (U, V, a))
    assert isinstance(certificate.statement, Training)
    objective = network_objective(certificate.statement, U, V, a)
    proof = replace(certificate.proofs[0], U=U, V=V, output=a)
    return replace(certificate, proofs=(proof,), claims={**certificate.claims, "objective": objective})


def certify(
    merged: MergedRows,
    duals: Iterable[Dual],
    U: FloatArray,
    V: FloatArray,
    *,
    provenance: Mapping[str, Any] | None = None,
    circuits: CircuitSet | None = None,
) -> tuple[Certificate, Report]:
    """The best certificate that these duals give for a network, with the checker's report on it.

    The margin between repair and check starts at 1e-9 and grows tenfold while the rigorous test fails; at last the
    trivial dual W = 0 is taken. So the report says PROVED unless the data are beyond floating point; the caller must
    look.

    Args:
        merged, duals: from ``formulations.merge_rows``, and any duals in the coordinates of its program.
        U, V: the network (d×m, c×m).
        provenance: a JSON object that travels along.
        circuits: why the merged program's inequalities hold, if it has any.
    """
    given = [Dual(np.zeros(merged.program.shape), NO_PRODUCTS), *duals]

    def candidates() -> Iterator[Certificate]:
        for margin in MARGINS:
            # Only the trivial dual is left when no margin helps: its bound is what no network can change.
            some = given if margin < MARGINS[-1] else given[:1]
            repaired = [repair(merged.program, drop_negligible(merged, dual), margin=margin) for dual in some]
            best = max(repaired, key=lambda dual: dual.lower_bound)
            yield assemble(merged, best, U, V, provenance or {}, circuits=circuits)

    return prove(candidates(), Arithmetic.FLOAT if circuits is None and quick(merged) else Arithmetic.AUTO)


def quick(merged: MergedRows) -> bool:
    """Whether floating point needs hardly more margin than stronger arithmetic. A free hidden bias costs next to
    nothing, so slacks with it are nearly singular; so they are with circuits, whose multipliers are large."""
    return not merged.program.region.size


def prove(candidates: Iterable[Certificate], arithmetic: Arithmetic = Arithmetic.AUTO) -> tuple[Certificate, Report]:
    """The first candidate that the checker accepts, with its report; else the last one and its report.

    There is at least one. They may be made lazily, each with more room between what it claims and what it could claim.
    """
    for candidate in candidates:
        report = check(candidate, arithmetic=arithmetic)
        if report.verdict is Verdict.PROVED:
            break
    return candidate, report


def about(kind: type) -> Callable[[str, Any], None]:
    """Requires a certificate of this kind of statement, as an argument of a public function."""

    def check(name: str, value: Any) -> None:
        if not (isinstance(value, Certificate) and isinstance(value.statement, kind)):
            found = type(value.statement if isinstance(value, Certificate) else value).__name__
            way = {"Training": "train", "Robustness": "verify"}.get(kind.__name__, "lipschitz_constant")
            raise InputError(
                f"{name} must be a Certificate of {kind.__name__}, not {found}; certnet.{way} gives one as "
                ".certificate, and certnet.read_certificate reads one."
            )

    return check
