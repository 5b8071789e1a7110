"""Robustness: what its certificates prove of a network, from the weights, the region and the property alone.

For each case: the pre-activation bounds are computed anew, rounded outwards, and stable neurons are told from them; the
form ``t·μᵀ(H f + h) − δ t²`` is rebuilt from the weights; every leaf of the split tree is proved, linear leaves
together (``certificates.linear_leaves``) and the others by a positive semidefinite slack
(``certificates.nonnegativity``).
"""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic import Arithmetic, Enclosure
from certificates.arithmetic.floating import inflate, sum_of_products
from certificates.arithmetic.matrix import M
from certificates.certificate import FLOAT32, REAL, CaseProof, Certificate, LipschitzProof, Robustness
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require, require_arrays
from certificates.float32 import lowered, output_errors, row_errors
from certificates.linear_leaves import LinearLeaves, OpenCase, is_linear, leaf_weights
from certificates.nonnegativity import check_structure, check_triangles, extra_rows, leaves_with_signs, prove_leaf
from certificates.proof import Cone, LiftedProof
from certificates.report import Verdict
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE, INACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork
    from formulations.robustness import InputRegion, UnsafeCase

Bounds = tuple[FloatArray, FloatArray]
LARGEST = float(np.finfo(np.float64).max)
BLOCK_ENTRIES = 1 << 20
"""Numbers in a block of linear leaves; bounds the memory that many leaves of a wide network can ask for."""
PROVED_SENTENCE = (
    "on every leaf a nonnegative weighting of the output rows stays at least the margin above 0, so no input of any "
    "region is unsafe"
)
FLOAT32_SENTENCE = ", neither in real arithmetic nor in any evaluation in float32"


def prove_robustness(statement: Robustness, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove that no case happens; ``margin`` and the numbers of leaves are left in the work."""
    network, cases, proofs = statement.network, statement.cases, certificate.proofs
    require(len(cases) > 0, "the certificate has no case")
    semantics = statement.semantics
    require(semantics in (REAL, FLOAT32), f"the semantics are {semantics[:40]!r}, not {REAL} or {FLOAT32}")
    inputs, outputs = require_network(network)
    for case in cases:
        require_region(case.region, inputs)
        require(case.H.ndim == 2 and len(case.H) > 0, "a case has no output row")
        require_arrays(case, np.float64, H=(len(case.H), outputs), h=(len(case.H),))
    exactly, margin = work.chosen is not Arithmetic.FLOAT, math.inf
    work.figures.update(linear_leaves=0, semidefinite_leaves=0)
    region, parts = None, ("lower", "upper", "centre", "radius")
    for case, proof in zip(cases, proofs, strict=True):
        # Cases of one region, which follow each other, share the bounds on it.
        if not all(np.array_equal(getattr(region, part, 0), getattr(case.region, part)) for part in parts):
            region, bounds = case.region, preactivation_bounds(network, case.region, work.deadline)
            errors = output_errors(network, region, bounds[1]) if semantics == FLOAT32 else None
        if errors is not None:
            case = _in_float32(case, proof, errors, work)
        linear, others = work.proved(
            partial(check_case, network, case, proof, bounds, exactly=exactly),
            int(np.count_nonzero(proof.stable == 0)) + network.hidden.shape[1] + 1,
        )
        work.figures["linear_leaves"] += linear
        work.figures["semidefinite_leaves"] += others
        margin = min(margin, _normalised_margin(proof))
    work.figures["margin"] = margin
    return Verdict.PROVED, PROVED_SENTENCE + (FLOAT32_SENTENCE if semantics == FLOAT32 else "")


def _in_float32(case: "UnsafeCase", given: CaseProof, errors: FloatArray, work: Work) -> "UnsafeCase":
    """What has to be proved of real numbers for all evaluations in float32; ``rounding`` is left in the work."""
    E = given.rounding
    if E is None:
        raise ProofFailure("a proof says nothing of rounding in float32")
    require_arrays(given, np.float64, rounding=(len(case.H),))
    require((row_errors(case, errors) <= E).all(), "E is smaller than what float32 may change of an output row")
    work.figures["rounding"] = max(work.figures.get("rounding", 0.0), float(E.max()))
    return lowered(case, E)


def require_network(network: "ReluNetwork") -> tuple[int, int]:
    """(d, c), after checking that the network's arrays fit together and are finite."""
    require(network.hidden.ndim == network.output.ndim == 2, "the network's weights are no matrices")
    (m, d), c = network.hidden.shape, len(network.output)
    require(min(d, c) > 0, "the network has no input or no output")
    shapes = {"hidden": (m, d), "hidden_bias": (m,), "output": (c, m), "output_bias": (c,)}
    require_arrays(network, np.float64, "the network's ", **shapes)
    require_memory(network_bytes(network), "the proof")
    return d, c


def network_bytes(network: "ReluNetwork", arithmetic: Arithmetic = Arithmetic.FLOAT) -> float:
    """Bytes that bounding the pre-activations takes, and in stronger arithmetic the network's own numbers."""
    return row_bytes(arithmetic, len(network.hidden), sum(network.hidden.shape[1:]) + len(network.output))


def require_region(region: "InputRegion", d: int) -> None:
    """Raise ``ProofFailure`` unless a region is a box of finite sides, and a ball if there is one, in d dimensions."""
    require(region.lower.shape == (d,), f"the region has {region.lower.size} inputs, but the network has {d}")
    require_arrays(region, np.float64, "the region's ", lower=(d,), upper=(d,))
    require((region.lower <= region.upper).all(), "a lower bound lies above the upper one")
    require((region.centre is None) == (region.radius is None), "a ball needs both a centre and a radius")
    if region.centre is not None and region.radius is not None:
        require_arrays(region, np.float64, "the ball's ", centre=(d,))
        require(0 <= region.radius < math.inf, f"the radius is {region.radius}, not a finite number of at least 0")


def _normalised_margin(proof: CaseProof) -> float:
    """δ over the largest Σμ, rounded down: what the largest row is at least."""
    rows = proof.mu.shape[1]
    if rows == 1 and bool((proof.mu <= 1.0).all()):
        return proof.margin
    total = float(inflate(proof.mu.sum(axis=1).max(keepdims=True), rows)[0])
    # Rounding may lift the quotient, by much where it is subnormal; so may the sums have been rounded down.
    return max(float(np.nextafter(proof.margin / max(total, 1.0), -math.inf)), 0.0)


def _require_affordable(network: "ReluNetwork", case: "UnsafeCase", given: CaseProof, arithmetic: Arithmetic) -> None:
    """Refuse a case whose statement, or whose linear leaves, take more memory than the checker has."""
    (m, d), (rows, c), proof = network.hidden.shape, case.H.shape, given.proof
    N, triangles = float(np.count_nonzero(given.stable == 0)), float(proof.triangles.neuron.size)
    statement = network_bytes(network, arithmetic) + 160.0 * (d + 3) ** 2
    leaves = proof.leaves * (8.0 * N + 300.0) + 80.0 * triangles * (N + 6 * d + 11)
    block = 400.0 * max(BLOCK_ENTRIES, m + 2 * N + 3 * d + triangles + proof.circuits.target.size + c + rows)
    require_memory(statement + leaves + block, "the proof")


def check_case(
    network: "ReluNetwork", case: "UnsafeCase", given: CaseProof, bounds: Bounds, matrix: type[M], *, exactly: bool
) -> tuple[int, int]:
    """Check one case, given bounds of the pre-activations; returns the numbers of linear and of semidefinite leaves.

    ``exactly`` is whether linear leaves that floating point does not prove are computed in rational numbers.
    """
    proof, deadline = given.proof, matrix.deadline
    deadline.check()
    _require_affordable(network, case, given, matrix.arithmetic)
    opened = OpenCase(network, case, given.stable, open_bounds(given, *bounds))
    N, rows, circuits = len(opened.bounds), 1 + 2 * network.hidden.shape[1], proof.circuits.target.size
    check_structure(proof, N, rows // 2 + 1, rows, int(case.region.centre is not None))
    check_triangles(proof.triangles, opened.bounds)
    require_arrays(given, np.float64, mu=(proof.leaves, len(case.H)))
    require((given.mu >= 0).all() and (given.mu.sum(axis=1) > 0).all(), "mu has a negative entry, or is zero on a leaf")
    require(math.isfinite(given.margin) and given.margin > 0, f"the margin is {given.margin}, not a positive number")
    linear: list[tuple[int, IntArray]] = []
    others: list[tuple[int, IntArray]] = []
    for leaf, signs in leaves_with_signs(proof, N):
        deadline.check()
        (linear if is_linear(proof, leaf, N, rows) else others).append((leaf, signs))
    if others or circuits:
        cone = lifted_cone(opened)
        table = inequality_table(proof, cone, matrix)
        for leaf, signs in others:
            form = margin_form(opened, given.mu[[leaf]], given.margin, matrix)
            prove_leaf(cone, form, proof, leaf, signs, table, matrix)
    positions = 2 * N + rows + circuits + proof.triangles.neuron.size
    block = max(1, BLOCK_ENTRIES // (sum(network.hidden.shape) + positions + len(network.output) + len(case.H)))
    for start in range(0, len(linear), block):
        deadline.check()
        numbers = np.array([leaf for leaf, _ in linear[start : start + block]], dtype=np.int64)
        signs = np.stack([signs for _, signs in linear[start : start + block]])
        weights = leaf_weights(proof, numbers, N, rows)
        part = LinearLeaves(opened, proof.triangles, given.mu[numbers], given.margin, signs, weights)
        for leaf, least in zip(numbers.tolist(), part.remainders(exactly=exactly, deadline=deadline), strict=True):
            if not (least >= 0):
                shown = float(max(least, -LARGEST))
                raise ProofFailure(f"the linear function of leaf {leaf} is only shown to be at least {shown:.3e}")
    return len(linear), len(others)


def inequality_table(proof: LiftedProof, cone: Cone, matrix: type[M]) -> M:
    """The region's rows, circuits and triangles over λ, each justified."""
    further = len(cone.linear) + proof.circuits.target.size + proof.triangles.neuron.size
    N, k = cone.generators.shape
    require_memory(product_bytes(matrix.arithmetic, N, k, further), "a semidefinite leaf")
    return extra_rows(proof, cone, matrix)


def margin_form(opened: OpenCase, mu: FloatArray, margin: float, matrix: type[M]) -> M:
    """t times the linear form of one leaf's weights (1×r), as a symmetric matrix over λ = (α, β, z)."""
    alpha, z = opened.linear_form(mu, margin, matrix)
    row = matrix.block([[alpha, matrix.exact(np.zeros(alpha.shape)), z]])
    half = matrix.block([[matrix.exact(np.zeros((row.shape[1] - 1, row.shape[1])))], [row.times(0.5)]])
    return half + half.T


def lifted_cone(opened: OpenCase) -> Cone:
    """The unstable neurons over z = (x, t), as ``CaseProof`` describes it.

    The corner ``radius² − ‖centre‖²`` of the ball's quadratic is rounded up, which makes the region no smaller.
    """
    region = opened.case.region
    d = region.lower.size
    rows, quadratics = np.zeros((1 + 2 * d, d + 1)), []
    rows[0, d] = 1.0
    rows[1::2, :d], rows[1::2, d] = np.eye(d), -region.lower
    rows[2::2, :d], rows[2::2, d] = -np.eye(d), region.upper
    if region.centre is not None and region.radius is not None:
        centre, radius = region.centre[:, None], np.array([region.radius])
        corner = sum_of_products([(radius, radius), (-centre, centre)], upper=True)
        quadratics.append(np.block([[-np.eye(d), centre], [centre.T, np.array([[corner]])]]))
    return Cone(opened.generators(), rows, quadratics, opened.bounds)


@np.errstate(all="ignore")
def preactivation_bounds(network: "ReluNetwork", region: "InputRegion", deadline: Deadline = NO_DEADLINE) -> Bounds:
    """Rigorous l ≤ Ux + b ≤ u (m,) on the region: the box bound, and where there is a ball the better of both.

    Every neuron's bound over the box alone is exact up to rounding outwards, and so is that over the ball alone. Where
    rounding might hide the sign of a bound over the box, it is rounded only once, while there is time; 0 then is 0.
    """
    U, b, exact = network.hidden, network.hidden_bias[:, None], Enclosure.exact
    # Both bounds are sums of 2d + 1 products, of the positive and the negative weights and the bias.
    parts = np.hstack([np.maximum(U, 0.0), np.minimum(U, 0.0), b])
    ends = np.ones((parts.shape[1], 2))
    ends[:-1, 0], ends[:-1, 1] = np.append(region.lower, region.upper), np.append(region.upper, region.lower)
    both = exact(parts) @ exact(ends)
    lower, upper = both.lower[:, 0], both.upper[:, 1]
    still = ~((U != 0) & ((region.lower != 0) | (region.upper != 0))).any(axis=1)
    lower[still] = upper[still] = b[still, 0]
    for i, side in np.argwhere((np.abs(both.mid) <= 2.0 * both.rad) & ~still[:, None]).tolist():
        if deadline.passed:
            break
        sharp = sum_of_products([(parts[i], ends[:, side])], upper=side == 1)
        if side:
            upper[i] = min(upper[i], sharp)
        else:
            lower[i] = max(lower[i], sharp)
    if region.centre is not None and region.radius is not None:
        middle, reach = exact(U) @ exact(region.centre[:, None]) + exact(b), exact(U).norms().times(region.radius)
        # Where these overflow the others still hold.
        lower = np.fmax(lower, (middle - reach).lower[:, 0])
        upper = np.fmin(upper, (middle + reach).upper[:, 0])
    return lower, upper


def open_bounds(given: CaseProof | LipschitzProof, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """(N, 2) proved bounds of the unstable neurons, of those of all, after checking that the others are stable."""
    require_arrays(given, np.int64, stable=lower.shape)
    stable = given.stable
    require(np.isin(stable, (-1, 0, 1)).all(), "stable holds another number than 1, -1 and 0")
    wrong = np.flatnonzero(((stable == ACTIVE) & ~(lower >= 0)) | ((stable == INACTIVE) & ~(upper <= 0)))
    if len(wrong):
        i = int(wrong[0])
        require(False, f"neuron {i} is called stable, but its pre-activation lies in [{lower[i]:.3e}, {upper[i]:.3e}]")
    bounds: FloatArray = np.stack([lower, upper], axis=1)[stable == 0]
    require(np.isfinite(bounds).all(), "a pre-activation bound overflows")
    return bounds
