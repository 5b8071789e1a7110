"""Cut the weight space until the price is at most what is asked for on every cone, in slices that can be spread."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from joblib import Parallel, delayed

from certificates.failure import NO_DEADLINE, Deadline
from certnet.search import cone_kernel as kernel
from certnet.search.cone_kernel import fast_search, is_compiled
from formulations import Program
from formulations._validation import FloatArray, IntArray

SLICE = 4096
"""Tests in one call of the compiled kernel."""
PLAIN_SLICE_WORK, PLAIN_WORK = 8_000, 32_000
"""Tests times rows of a small slice, and of all of them, which the plain kernel does in about half a second; after them
compiling the other is worth its seconds. Whichever kernel does them, the slices are the same, and so is what they
find."""
PARTS_PER_WORKER = 4
NO_AXIS = 1e-14
"""Eigenvalue of the directions of the rows, as a part of the largest, that counts as 0."""


@dataclass(frozen=True, eq=False)
class Output:
    """``f(u) = Lu + Σ w_i (a_i·u)₊`` in the coordinates u = Bt of a basis, where rows look alike in all directions.

    Attributes:
        basis, metric: (d, d) B and BᵀEB.
        rows, weights: (N, d) unit rows, multiples of a_i B, and (N, c) w_i.
        linear: (c, d) LB.
    """

    basis: FloatArray
    rows: FloatArray
    weights: FloatArray
    linear: FloatArray
    metric: FloatArray

    @cached_property
    def roots(self) -> FloatArray:
        """The 2^d cones (2^d, d, d) that cover the space; number r has +e_j where bit j of r is set, else −e_j."""
        d = len(self.metric)
        signs = np.where((np.arange(1 << d)[:, None] >> np.arange(d)) & 1, 1.0, -1.0)
        return np.asarray(signs[:, None, :] * np.eye(d))


def basis_of(generators: FloatArray) -> FloatArray:
    """A basis (d, d) of R^d: principal axes of the directions of the rows (N×d), along which these look alike.

    Directions that no row sees get the mean length of the others.
    """
    unit = generators / np.linalg.norm(generators, axis=1)[:, None]
    values, axes = np.linalg.eigh(unit.T @ unit)
    values = np.where(values > NO_AXIS * values[-1], values, values.mean())
    return np.asarray(axes / np.sqrt(values))


def output_of(program: Program, W: FloatArray, basis: FloatArray) -> Output:
    """The output ``(κ∘W)ᵀφ`` of a program with z = u (``formulations.merge_rows``).

    With ``(−z)₊ = (z)₊ − z`` the opposite activations become a linear part.
    """
    N = program.space.neurons
    features = program.features_of(W)
    rows = program.space.generators @ basis
    length = np.linalg.norm(rows, axis=1)[:, None]
    weights = (features[:N] + features[N:]) * length
    return Output(basis, rows / length, weights, -(features[N:].T @ rows), basis.T @ program.metric @ basis)


@dataclass(frozen=True, eq=False)
class Exploration:
    """What a search found.

    Attributes:
        complete: every cone has passed, so ‖f(u)‖ ≤ limit·‖u‖ up to rounding.
        refuted: some vertex exceeds the limit.
        codes, positions: the trees of all roots in preorder (``certificates.subdivision.Subdivision``); empty unless
            complete.
        points: (d, m) vertices of notable value, in the coordinates of the basis.
        best: largest ‖f(u)‖/‖u‖ at a vertex.
        tests: effort.
    """

    complete: bool
    refuted: bool
    codes: IntArray
    positions: FloatArray
    points: FloatArray
    best: float
    tests: int


@dataclass(frozen=True, eq=False)
class _Segment:
    """A part of the preorder: nodes that are done, or cones that wait."""

    cones: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    depths: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    codes: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    positions: FloatArray = field(default_factory=lambda: np.zeros(0))


def explore(
    output: Output,
    limit: float,
    *,
    notable: float = np.inf,
    pool: Parallel | None = None,
    busy: int = 1,
    max_tests: int | None = None,
    deadline: Deadline = NO_DEADLINE,
    callback: Callable[[int], bool | None] | None = None,
) -> Exploration:
    """Cut cones until each passes the test for ``limit`` or has a vertex above it.

    Args:
        output, limit: what is bounded, and the price ‖f(u)‖/‖u‖ that is to be shown.
        notable: vertices with a larger price are reported, a few hundred for each slice.
        pool, busy: where slices run, or None for this thread, and how many keep it busy.
        deadline: compiling the kernel, some ten seconds the first time after an installation, puts it off.
        callback: called after every batch with the tests so far; a true value ends the search.
    """
    compiling, d, N = 0.0, len(output.metric), max(len(output.rows), 1)
    order = [_Segment(output.roots, np.zeros(len(output.roots), dtype=np.int64))]
    tests, refuted, best, points = 0, False, 0.0, [np.zeros((0, d))]
    while waiting := [segment for segment in order if len(segment.depths)]:
        left = np.inf if max_tests is None else max_tests - tests
        if left <= 0 or time.perf_counter() >= deadline.moment + compiling:
            break
        # Small searches are over before the fast kernel is there.
        small = tests * N < PLAIN_WORK
        if not small and not is_compiled():
            started = time.perf_counter()
            _slice(output, waiting[0], limit, notable, 1)
            compiling = time.perf_counter() - started
        chosen = waiting[: 1 if small else int(min(busy, left))]
        budget = int(min(-(-PLAIN_SLICE_WORK // N) if small else SLICE, left // len(chosen)))
        work = [(output, segment, limit, notable, budget, small and not is_compiled()) for segment in chosen]
        if small or pool is None:
            results = [_slice(*one) for one in work]
        else:
            results = pool(delayed(_slice)(*one) for one in work)
        for segment, (codes, positions, cones, depths, found, top) in zip(chosen, results, strict=True):
            # No slice begins more cones than it makes tests, so what is handed to it stays small.
            count = max(PARTS_PER_WORKER * busy if busy > 1 else 1, -(-len(cones) // SLICE))
            count, at = max(min(len(cones), count), 1), order.index(segment)
            pieces = zip(np.array_split(cones, count), np.array_split(depths, count), strict=True)
            # Without a view of the cones, which would keep them all in memory.
            done = _Segment(codes=codes, positions=positions[codes >= 0])
            order[at : at + 1] = [done, *(_Segment(*piece) for piece in pieces)]
            tests, refuted = tests + len(codes), refuted or bool((codes == kernel.REFUTED).any())
            points.append(found)
            best = max(best, top)
        if callback is not None and callback(tests):
            break
    complete = not refuted and not any(len(segment.depths) for segment in order)
    return Exploration(
        complete=complete,
        refuted=refuted,
        codes=np.concatenate([s.codes if complete else s.codes[:0] for s in order]),
        positions=np.concatenate([s.positions if complete else s.positions[:0] for s in order]),
        points=np.concatenate(points).T,
        best=float(np.sqrt(best)),
        tests=tests,
    )


Slice = tuple[IntArray, FloatArray, FloatArray, IntArray, FloatArray, float]


def _slice(output: Output, part: _Segment, limit: float, notable: float, budget: int, plain: bool = False) -> Slice:
    """(codes, positions, cones that wait in preorder, their depths, notable points, best) of one call of the kernel."""
    loop = kernel.search if plain else fast_search()
    (N, k), c = output.rows.shape, output.weights.shape[1]
    work = kernel.workspace(N, k, c, budget)
    T, *_, depth, codes, positions, found = work[:9]
    statement = output.rows, output.weights, output.linear, output.metric
    tests, hits, best, following, top = loop(*statement, part.cones, part.depths, limit**2, notable**2, budget, work)
    waiting = np.concatenate((T[: top + 1][::-1], part.cones[following:]))
    depths = np.concatenate((depth[: top + 1][::-1], part.depths[following:]))
    return codes[:tests], positions[:tests], waiting, depths, found[:hits], best
