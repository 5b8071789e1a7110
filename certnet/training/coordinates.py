"""Coordinates of the hidden weights in which training takes place: without directions that the data do not see."""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray
from formulations.training import TrainingProgram

NULL_DIRECTION = 1e-13
"""Singular values of X below this part of the largest are rounding."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """``u = A u'`` with the same cost and the same outputs.

    Directions that X does not see only cost; without them a plane is recognised behind more features. Where the hidden
    bias is free, features are centred, which moves the bias alone. ``inner`` is the program over u', ``basis`` is A
    (d, d'), and ``inverse`` (d', d) its left inverse, orthogonal in the cost.
    """

    inner: TrainingProgram
    basis: FloatArray
    inverse: FloatArray

    @classmethod
    def of(cls, program: TrainingProgram) -> "Coordinates":
        """The coordinates for a program; itself where there is nothing to do."""

        def over(X: FloatArray, hidden: str) -> TrainingProgram:
            loss, omega, output = program.loss.kind, program.loss.sample_weight, program.output_bias
            given = X, program.Y, program.gamma
            return TrainingProgram(*given, loss=loss, sample_weight=omega, hidden_bias=hidden, output_bias=output)

        if len(program.ball):
            centre = program.X[:, :-1].mean(axis=0)
            features = program.X[:, :-1] - centre
            Q, d = _row_space(features), program.shape[1]
            basis, inverse = np.zeros((d, Q.shape[1] + 1)), np.zeros((Q.shape[1] + 1, d))
            basis[:-1, :-1], basis[-1] = Q, np.append(-centre @ Q, 1.0)
            inverse[:-1, :-1], inverse[-1] = Q.T, np.append(centre, 1.0)
            return cls(over(features @ Q, "free"), basis, inverse)
        Q = _row_space(program.X)
        if Q.shape[1] == program.shape[1]:
            return cls(program, np.eye(Q.shape[1]), np.eye(Q.shape[1]))
        return cls(over(program.X @ Q, "none"), Q, Q.T)


def _row_space(X: FloatArray) -> FloatArray:
    """Orthonormal columns that span the row space of X; the identity where that is everything."""
    _, singular, Vt = np.linalg.svd(X, full_matrices=False)
    rank = max(int(np.sum(singular > NULL_DIRECTION * singular[0])), 1)
    return np.eye(X.shape[1]) if rank == X.shape[1] else np.asarray(Vt[:rank].T)
