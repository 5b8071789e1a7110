"""Moments of a vertex of a tree from those of the vertex above it."""

import numpy as np

from certnet.search.tree import Branch
from formulations import ACTIVE
from formulations._validation import FloatArray


def last_moments(leaf: Branch, generators: FloatArray) -> tuple[FloatArray, Branch]:
    """The face matrix S of the vertex on a leaf's path that was bounded last, on the leaf's own face, and that vertex.

    The root has been bounded.
    """
    source, path = leaf, list[Branch]()
    while source.bound is None:
        path.append(source)
        assert source.parent is not None  # only the root has none
        source = source.parent
    S, above = source.bound.S, source
    for vertex in reversed(path):
        S, above = share_of_child(S, generators, above, vertex), vertex
    return S, source


def share_of_child(S: FloatArray, generators: FloatArray, parent: Branch, child: Branch) -> FloatArray:
    """A child's share of its parent's face matrix S, on its own face; the shares of both children sum to S.

    Both sides of an output's split get half.

    The activations α and β of the generator that was split are orthogonal in S. So S is the sum of its part along α,
    where β vanishes, its part along β, where α vanishes, and a rest where both do, which is halved.
    """
    f, k, neuron = len(parent.free), generators.shape[1], parent.neuron
    if neuron == len(generators):
        return 0.5 * S
    place = int(np.flatnonzero(parent.free == neuron)[0])
    beta = np.eye(len(S))[place]
    alpha = beta.copy()
    alpha[f : f + k] = generators[neuron]
    parts = []
    for row in (alpha, beta):
        image = S @ row
        size = float(row @ image)
        parts.append(np.outer(image, image) / size if size > 0 else np.zeros_like(S))
    own = parts[0] if child.signs[neuron] == ACTIVE else parts[1]
    kept = np.delete(np.arange(len(S)), place)
    return np.asarray((own + 0.5 * (S - parts[0] - parts[1]))[np.ix_(kept, kept)])
