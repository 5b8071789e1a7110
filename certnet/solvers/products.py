"""Which products ``G_pq ≥ 0`` become constraints of the interior point."""

import numpy as np
from numpy.typing import NDArray

from formulations._validation import FloatArray, IntArray

SMALL_MOMENT = 1e-14
SMALL_MULTIPLIER = 1e-6


def _is_product(positions: int, neurons: int) -> NDArray[np.bool_]:
    """Mask of positions p < q that are products: not complementary, and no square (those are ≥ 0 anyway)."""
    mask = np.triu(np.ones((positions, positions), dtype=bool), 1)
    neuron = np.arange(neurons)
    mask[neuron, neurons + neuron] = False
    return mask


def _correlations(moments: FloatArray, neurons: int) -> FloatArray:
    """``G_pq / √(G_pp G_qq)`` of products, 0 elsewhere; a product is judged by it because rows differ in size."""
    size = np.sqrt(np.maximum(np.diag(moments), SMALL_MOMENT))
    return np.where(_is_product(len(moments), neurons), moments / np.outer(size, size), 0.0)


def least_correlation(moments: FloatArray, neurons: int) -> float:
    """The most violated product by its correlation, at most 0; ``moments`` are those of all inequalities."""
    return float(np.min(_correlations(moments, neurons), initial=0.0))


def violated(
    moments: FloatArray, neurons: int, known: tuple[IntArray, IntArray], *, tolerance: float, count: int
) -> tuple[IntArray, IntArray]:
    """At most ``count`` products outside ``known`` whose correlation is below ``-tolerance``, worst first."""
    correlation = _correlations(moments, neurons)
    correlation[known] = 0.0
    p, q = np.nonzero(correlation < -tolerance)
    worst = np.argsort(correlation[p, q], kind="stable")[: max(count, 0)]
    return p[worst], q[worst]


def all_products(positions: int, neurons: int) -> tuple[IntArray, IntArray]:
    """Every product."""
    p, q = np.nonzero(_is_product(positions, neurons))
    return p, q


def largest(N: FloatArray, neurons: int, count: int) -> tuple[IntArray, IntArray]:
    """At most ``count`` products by the size of their multipliers N_pq, largest first, without negligible ones."""
    size = np.where(_is_product(len(N), neurons), N, 0.0)
    p, q = np.nonzero(size > SMALL_MULTIPLIER * max(float(size.max()), 1e-300))
    first = np.argsort(-size[p, q], kind="stable")[: max(count, 0)]
    return p[first], q[first]
