"""The optimality certificate: everything that is needed to re-prove a lower bound, and nothing that is trusted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certificates.proof import LiftedProof
from certificates.subdivision import Subdivision
from formulations._validation import FloatArray, IntArray

LOSS = "half-sum-of-squares"


def fingerprint(X: FloatArray, Y: FloatArray) -> str:
    """SHA-256 over the shapes and the little-endian float64 bytes (row-major) of X and Y.

    Both zeros count as +0, so that −0.0 does not make other data of the same numbers.
    """
    digest = hashlib.sha256()
    for matrix in (X, Y):
        digest.update(np.asarray(matrix.shape, dtype="<i8").tobytes())
        digest.update((np.ascontiguousarray(matrix, dtype="<f8") + 0.0).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class OptimalityCertificate:
    """Claim: ``lower_bound ≤ p_m ≤ objective`` for the training problem of (X, Y, γ) and every width m.

    The proof: for every u,

        γ²‖u‖² − ‖Wᵀ(Xu)₊‖²  =  [a form that is PSD on the face] + Σ N_pq ℓ_p ℓ_q + Σ t_i α_i β_i,   N ≥ 0,

    over the generators of X (see ``LiftedProof``), or in few dimensions a ``Subdivision`` of the space of u. So W is
    dual feasible, and ``⟨W,Y⟩ − ½‖W‖²`` bounds every network's objective.

    Attributes:
        X, Y: the data, n×d and n×c (a bias column of ones is part of X).
        data_fingerprint: SHA-256 of the data, see ``fingerprint``.
        gamma: weight decay γ.
        bias: whether the last column of X is the bias.
        W: (n, c) dual point, already scaled to be feasible.
        source: (N,) data rows that serve as generators.
        generator: (n,) generator of each data row, −1 for zero rows.
        proof: nonnegativity of ``γ²‖u‖² − ‖Wᵀ(Xu)₊‖²`` on the lifted cone of the generators.
        U, V: hidden (d×m) and output (c×m) weights of a network, the upper bound.
        lower_bound: the claimed bound.
        objective: the claimed objective of (U, V).
        provenance: JSON object about how the certificate came to be; no part of the proof.
    """

    X: FloatArray
    Y: FloatArray
    data_fingerprint: str
    gamma: float
    bias: bool
    W: FloatArray
    source: IntArray
    generator: IntArray
    proof: LiftedProof | Subdivision
    U: FloatArray
    V: FloatArray
    lower_bound: float
    objective: float
    loss: str = LOSS
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, d, c)."""
        return self.X.shape[0], self.X.shape[1], self.Y.shape[1]

    @property
    def gap(self) -> float:
        """(objective − lower_bound)/objective of the claims, 0 when both vanish."""
        if self.objective == 0:
            return 0.0
        return (self.objective - self.lower_bound) / self.objective
