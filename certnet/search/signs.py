"""Which neuron a node is split on, learnt from earlier splits.

The relaxation errs at a free neuron with a negative weight by its score. How much of that a split gives back differs
between neurons and sides, and changes little from node to node. So each split is recorded as the rise of the bound
divided by the score (pseudo-costs, as in mixed-integer programming: Achterberg, Koch, Martin 2005), and the neuron
with the largest product of both expected rises is taken. At the root both sides of many neurons are tried first.
"""

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginProblem
from formulations.signs import FREE

LEAST = 1e-6
"""Rise that a side counts for at least, so that the other side still matters."""
TRIED = 40
"""Neurons at most that are tried at the root."""
SIDES = (1, -1)


class Branching:
    """The record of one search."""

    def __init__(self, problem: MarginProblem) -> None:
        self.problem = problem
        self.total, self.count = np.zeros((2, problem.neurons)), np.zeros((2, problem.neurons))

    def learn(self, neuron: int, sign: int, score: float, before: float, after: float) -> None:
        """A child's bound went from ``before`` to ``after``; what lies above 0 does not matter."""
        rise = min(after, 0.0) - before
        if score > 0 and np.isfinite(rise):
            side = SIDES.index(sign)
            self.total[side, neuron] += max(rise, 0.0) / score
            self.count[side, neuron] += 1.0

    def choose(self, signs: IntArray, mu: FloatArray, scores: FloatArray) -> IntArray:
        """(B,) neurons for nodes with these signs (B, N), weights (B, r) and scores (B, N); −1 without any.

        As long as nothing was learnt, and where no score is positive, ``largest`` decides.
        """
        largest = self.largest(signs, mu, scores)
        if not self.count.any():
            return largest
        known = self.count > 0
        means = [self.total[side][known[side]].sum() / max(self.count[side].sum(), 1.0) for side in (0, 1)]
        rate = np.where(known, self.total / np.maximum(self.count, 1.0), np.array(means)[:, None])
        merit = np.maximum(scores * rate[0], LEAST) * np.maximum(scores * rate[1], LEAST)
        # Where no rise is expected anywhere, the scores decide.
        learnt = np.where(scores > 0, merit + LEAST**2 * scores, -1.0).argmax(axis=1)
        return np.where((scores > 0).any(axis=1), learnt, largest)

    def largest(self, signs: IntArray, mu: FloatArray, scores: FloatArray) -> IntArray:
        """(B,) the free neurons with the largest scores, else with the largest triangles; −1 without any.

        Rows may cancel in all of μ's triangles. Those of single rows count then, since further splits may change μ.
        """
        low, high = self.problem.bounds.T
        weights = self.problem.weights
        triangle = np.where(signs == FREE, -low * high / (high - low), 0.0)
        best, found = np.full(len(signs), -1), np.zeros(len(signs))
        for merit in (scores, triangle * np.abs(mu @ weights), triangle * np.abs(weights).max(axis=0)):
            if merit.shape[1]:
                best = np.where(found > 0, best, np.where(merit.max(axis=1) > 0, merit.argmax(axis=1), -1))
                found = np.maximum(found, merit.max(axis=1))
        return best
