"""A certificate: a statement, proofs of it, and the numbers that are claimed. Nothing in it is trusted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates.proof import LiftedProof
from formulations.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from certificates.subdivision import Subdivision
    from formulations.network import ReluNetwork
    from formulations.robustness import InputRegion, UnsafeCase


def fingerprint(X: FloatArray, Y: FloatArray, sample_weight: FloatArray | None = None) -> str:
    """SHA-256 over the shapes and the little-endian float64 bytes (row-major) of X, Y and weights that are not all 1.

    Both zeros count as +0, so that −0.0 does not make other data of the same numbers.
    """
    import hashlib  # loads OpenSSL, and small boxes do without

    weighted = [] if sample_weight is None or (sample_weight == 1).all() else [sample_weight]
    digest = hashlib.sha256()
    for array in (X, Y, *weighted):
        digest.update(np.asarray(array.shape, dtype="<i8").tobytes())
        digest.update((np.ascontiguousarray(array, dtype="<f8") + 0.0).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Training:
    """``lower_bound ≤ p_m ≤ objective`` for every width m, where p_m is the least value over U (d×m), V (c×m), a (c) of

        Σ_i ω_i ℓ(f_i, y_i) + γ/2 (‖U‖² + ‖V‖² [+ ‖a‖²]),    f = (XU)₊Vᵀ + a.

    A bias is "none", "penalised" or "free". A hidden bias is the last row of U, whose data, the last column of X, are
    ones; if free, that row does not count in ‖U‖². The output bias is a; it counts if penalised, and is 0 if there is
    none.

    Attributes:
        X, Y: the data, n×d and n×c.
        gamma: weight decay γ.
        hidden_bias, output_bias: see above.
        loss: ℓ by name, see ``certificates.losses``.
        sample_weight: (n,) ω > 0.
        data_fingerprint: SHA-256 of the data, see ``fingerprint``.
    """

    X: FloatArray
    Y: FloatArray
    gamma: float
    hidden_bias: str
    output_bias: str
    loss: str
    sample_weight: FloatArray
    data_fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, d, c)."""
        return self.X.shape[0], self.X.shape[1], self.Y.shape[1]


@dataclass(frozen=True, eq=False)
class TrainingProof:
    """A dual point for the lower bound, and a network for the upper one.

    Attributes:
        W: (n, c) dual point, already scaled to be feasible.
        source: (N,) data rows that serve as generators.
        generator: (n,) generator of each data row, −1 for zero rows.
        proof: nonnegativity of ``γ²‖u‖² − ‖Wᵀ(Xu)₊‖² ``, so that W is dual feasible: on the lifted cone of the
            generators, or in few dimensions on a subdivision of the space of u; less σ q with a free hidden bias, see
            ``certificates.training``.
        U, V, output: hidden (d×m) and output (c×m) weights and output bias (c,) of a network.
        ball: (d,) of a free hidden bias, else (0,): a point x̄ and R² ≥ ‖x_i − x̄‖² for all rows without their 1.
    """

    W: FloatArray
    source: IntArray
    generator: IntArray
    proof: "LiftedProof | Subdivision"
    U: FloatArray
    V: FloatArray
    output: FloatArray
    ball: FloatArray


REAL, FLOAT32 = "real", "float32"
"""Semantics of a network: f(x) in real arithmetic, or all its evaluations in float32 (``certificates.float32``)."""


@dataclass(frozen=True, eq=False)
class Robustness:
    """No case is unsafe at any input. Every case has a proof of its own, in their order.

    Attributes:
        network: its numbers are taken at face value.
        cases: the disjunction that is shown to be impossible.
        semantics: ``REAL``, for all real inputs, or ``FLOAT32``, for all float32 ones and what any evaluation makes of
            them; rows and constants are exact in either.
    """

    network: "ReluNetwork"
    cases: "tuple[UnsafeCase, ...]"
    semantics: str = REAL


@dataclass(frozen=True, eq=False)
class CaseProof:
    """Why a case cannot happen: on every leaf ``μᵀ(H f(x) + h) ≥ margin > 0``, hence not all rows are ≤ 0.

    The lifted space has the neurons with ``stable = 0`` as generators [U b], z = (x, t), and as region the rows t ≥ 0,
    then for each input ``x_j − lower_j t ≥ 0`` and ``upper_j t − x_j ≥ 0``, and the ball's quadratic if there is one.

    Attributes:
        stable: (m,) 1 or −1 for neurons whose pre-activation is ≥ 0 or ≤ 0 on the region, else 0.
        mu: (leaves, r) weights μ ≥ 0 of the rows on each leaf, none of them all zero.
        margin: δ > 0.
        rounding: (r,) with float32 semantics what E is at least; it is taken off h in the proof. Else None.
        proof: nonnegativity of ``t·(μᵀH V α + μᵀ(H b₂ + h) t) − δ t²``; its triangles may rest on the bounds that the
            checker computes, and then have no support.
    """

    stable: IntArray
    mu: FloatArray
    margin: float
    proof: LiftedProof
    rounding: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Lipschitz:
    """``‖C(f(x) − f(y))‖₂ ≤ constant ‖x − y‖₂`` for all inputs x, y, or for all of a region.

    Attributes:
        network: its numbers are taken at face value.
        C: (r, outputs) functions of the outputs, r ≥ 1.
        region: where x and y lie; None for everywhere.
    """

    network: "ReluNetwork"
    C: FloatArray
    region: "InputRegion | None" = None


@dataclass(frozen=True, eq=False)
class LipschitzProof:
    """Why a constant L ≥ 0 holds; see ``certificates.lipschitz``.

    Attributes:
        stable: (m,) 1 or −1 for neurons whose pre-activation is ≥ 0 or ≤ 0 on the region, else 0; 0 without a region.
        proof: with ``open_neurons`` in their order as generators.
        halfspace: (d + r,) e, or (0,) for none; only with r > 1.
    """

    stable: IntArray
    proof: LiftedProof
    halfspace: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False)
class Certificate:
    """A statement with its proofs; ``check`` decides whether they prove it.

    Attributes of the statement, of the first proof and the claims can be read here directly: ``certificate.W``.

    Attributes:
        statement: what is stated, with all numbers that it is about.
        proofs: one ``TrainingProof`` or ``LipschitzProof``, or a ``CaseProof`` for each case of robustness.
        claims: ``lower_bound`` and ``objective`` of training, ``constant`` of a Lipschitz statement.
        provenance: JSON object about how the certificate came to be; no part of the proof.
    """

    statement: Training | Robustness | Lipschitz
    proofs: tuple[Any, ...]
    claims: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and "statement" in vars(self):
            if name in self.claims:
                return self.claims[name]
            for part in (self.statement, *self.proofs[:1]):
                if hasattr(part, name):
                    return getattr(part, name)
        raise AttributeError(f"a certificate has no {name!r}")


PROOFS = {Training: TrainingProof, Robustness: CaseProof, Lipschitz: LipschitzProof}
"""What proves each kind of statement."""
