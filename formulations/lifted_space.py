"""The lifted ReLU cone: the one set over which training and verification are quadratic forms.

For generators ``A`` (N×k, rows a_i) a point ``z`` in R^k is lifted to ``λ = (α, β, z)`` with ``α = (Az)₊`` and
``β = (−Az)₊``; an output block ``v`` in R^c may follow. ``K(A)`` is the cone of all such λ. Its linear span satisfies
``α − β = Az``, so the face coordinates ``s = (β, z, v)`` describe everything and ``λ = J s`` (facial reduction).

Training: A = X, z = u, v the output weights. Robustness: A = [U b], z = (x, t). Lipschitz: A = U, z a difference.
Source: Prakhya, Birdal, Yurtsever, ICLR 2025 (arXiv 2410.22311), section 3; the face is our reduction.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, as_array, frozen
from formulations.arguments import count
from formulations.errors import InputError


@dataclass(frozen=True, eq=False)
class LiftedSpace:
    """Coordinates of the lifted cone of ``generators`` (N×k), with ``outputs`` = c further free coordinates.

    ``λ`` has length ``order`` = 2N+k+c in the sequence α, β, z, v; the face coordinates ``s`` = (β, z, v) have length
    ``face_order`` = N+k+c. ``φ`` = (α, β) are the first 2N entries of λ.
    """

    generators: FloatArray
    outputs: int = 0

    def __post_init__(self) -> None:
        generators = np.array(as_array("generators", self.generators), dtype=np.float64, order="C")
        if generators.ndim != 2:
            raise InputError(f"generators must be a matrix, but they have {generators.ndim} dimensions.")
        if not np.isfinite(generators).all():
            raise InputError("generators must be finite.")
        count("outputs", self.outputs)
        frozen(generators)
        object.__setattr__(self, "generators", generators)

    @property
    def neurons(self) -> int:
        """N, the number of generators (data points in training, neurons in verification)."""
        return int(self.generators.shape[0])

    @property
    def dimension(self) -> int:
        """k, the dimension of z."""
        return int(self.generators.shape[1])

    @property
    def order(self) -> int:
        """2N+k+c, the length of λ."""
        return 2 * self.neurons + self.dimension + self.outputs

    @property
    def face_order(self) -> int:
        """N+k+c, the length of the face coordinates s."""
        return self.neurons + self.dimension + self.outputs

    @cached_property
    def alpha(self) -> slice:
        """Positions of α in λ."""
        return slice(0, self.neurons)

    @cached_property
    def beta(self) -> slice:
        """Positions of β in λ."""
        return slice(self.neurons, 2 * self.neurons)

    @cached_property
    def phi(self) -> slice:
        """Positions of φ = (α, β) in λ."""
        return slice(0, 2 * self.neurons)

    @cached_property
    def z(self) -> slice:
        """Positions of z in λ."""
        return slice(2 * self.neurons, 2 * self.neurons + self.dimension)

    @cached_property
    def v(self) -> slice:
        """Positions of the output block in λ."""
        return slice(2 * self.neurons + self.dimension, self.order)

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
