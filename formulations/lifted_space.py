"""The lifted ReLU cone: the one set over which training and verification are quadratic forms.

For generators ``A`` (N×k, rows a_i) a point ``z`` in R^k is lifted to ``λ = (α, β, z)`` with ``α = (Az)₊`` and
``β = (−Az)₊``; an output block ``v`` in R^c may follow. ``K(A)`` is the cone of all such λ. Its linear span satisfies
``α − β = Az``, so the face coordinates ``s = (β, z, v)`` describe everything and ``λ = J s`` (facial reduction).

Training: A = X, z = u, v the output weights. Robustness: A = [U b], z = (x, t). Lipschitz: A = U, z a difference.
Source: Prakhya, Birdal, Yurtsever, ICLR 2025 (arXiv 2410.22311), section 3; the face is our reduction.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, as_array, frozen
from formulations.arguments import count
from formulations.errors import InputError


@dataclass(frozen=True, eq=False)
class LiftedSpace:
    """Coordinates of the lifted cone of ``generators`` (N×k), with ``outputs`` = c further free coordinates.

    Attributes:
        neurons: N, the number of generators (data points in training, neurons in verification).
        dimension: k, of z.
        order, face_order: 2N+k+c, the length of ``λ`` = (α, β, z, v), and N+k+c, that of the face coordinates
            ``s`` = (β, z, v).
        alpha, beta, phi, z, v: positions of these in λ, where φ = (α, β).
    """

    generators: FloatArray
    outputs: int = 0
    neurons: int = field(init=False)
    dimension: int = field(init=False)
    order: int = field(init=False)
    face_order: int = field(init=False)
    alpha: slice = field(init=False)
    beta: slice = field(init=False)
    phi: slice = field(init=False)
    z: slice = field(init=False)
    v: slice = field(init=False)

    def __post_init__(self) -> None:
        generators = np.array(as_array("generators", self.generators), dtype=np.float64, order="C")
        if generators.ndim != 2:
            raise InputError(f"generators must be a matrix, but they have {generators.ndim} dimensions.")
        if not np.isfinite(generators).all():
            raise InputError("generators must be finite.")
        count("outputs", self.outputs)
        frozen(generators)
        N, k = generators.shape
        order = 2 * N + k + self.outputs
        sizes = {"generators": generators, "neurons": N, "dimension": k, "order": order, "face_order": order - N}
        blocks = {
            "alpha": (0, N),
            "beta": (N, 2 * N),
            "phi": (0, 2 * N),
            "z": (2 * N, 2 * N + k),
            "v": (2 * N + k, order),
        }
        for name, value in {**sizes, **{name: slice(*ends) for name, ends in blocks.items()}}.items():
            object.__setattr__(self, name, value)

    def with_outputs(self, outputs: int) -> "LiftedSpace":
        """The same generators with another output block."""
        return LiftedSpace(self.generators, outputs)

    def lift(self, z: FloatArray, v: FloatArray | None = None) -> FloatArray:
        """λ(z) for one point (k,) or for the columns of a matrix (k, m); ``v`` fills the output block (default 0)."""
        z = np.asarray(z, dtype=np.float64)
        product = self.generators @ z
        tail = np.zeros((self.outputs, *z.shape[1:])) if v is None else np.asarray(v, dtype=np.float64)
        return np.concatenate([np.maximum(product, 0.0), np.maximum(-product, 0.0), z, tail])

    def face(self, lam: FloatArray) -> FloatArray:
        """Face coordinates s = (β, z, v) of λ (columns if a matrix)."""
        return lam[self.neurons :]

    def expand(self, s: FloatArray) -> FloatArray:
        """λ = J s, for one vector or for the columns of a matrix; N·k work per column."""
        N, k = self.neurons, self.dimension
        alpha = s[:N] + self.generators @ s[N : N + k]
        return np.concatenate([alpha, s])

    @cached_property
    def basis(self) -> FloatArray:
        """J (order × face_order) with λ = J s, dense. Sparse by nature: [I A 0; I]."""
        J = self.expand(np.eye(self.face_order))
        frozen(J)
        return J

    def moment(self, S: FloatArray) -> FloatArray:
        """Lifted moment matrix G = J S Jᵀ (order × order) of a face matrix S."""
        return self.expand(self.expand(S).T)

    def pull_back(self, Q: FloatArray) -> FloatArray:
        """Jᵀ Q J: the form λᵀQλ written in face coordinates. ``Q`` is symmetric, order × order."""
        N, k = self.neurons, self.dimension
        half = Q[N:].copy()
        half[:N] += Q[:N]
        half[N : N + k] += self.generators.T @ Q[:N]
        out = half[:, N:].copy()
        out[:, :N] += half[:, :N]
        out[:, N : N + k] += half[:, :N] @ self.generators
        return out
