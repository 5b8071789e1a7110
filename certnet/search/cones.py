"""Cut the weight space until the price is at most what is asked for on every cone, in slices that can be spread."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed

from certnet.search import cone_kernel as kernel
from certnet.search.compiled import fast_explore, is_compiled
from certnet.search.cone_function import Output
from formulations._validation import FloatArray, IntArray

SLICE = 4096
"""Tests in one call of the compiled kernel."""
PLAIN_SLICE = 128
PLAIN_TESTS = 512
"""Tests in small slices, which the plain kernel does in about half a second; after them compiling the other is worth
its seconds. Whichever kernel does them, the slices are the same, and so is what they find."""
PARTS_PER_WORKER = 4


@dataclass(frozen=True)
class Progress:
    """A look at a search: tests done, cones waiting, part of the space that is done, seconds."""

    tests: int
    waiting: int
    share: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Exploration:
    """What a search found.

    Attributes:
        complete: every cone has passed, so ‖f(u)‖ ≤ limit·‖u‖ up to rounding.
        refuted: some vertex exceeds the limit.
        codes, positions: the trees of all roots in preorder (``certificates.subdivision.Subdivision``); empty unless
            complete.
        points: (d, m) vertices of notable value, in the coordinates of the basis.
        best: largest ‖f(u)‖/‖u‖ at a vertex, and ``point`` (d,) the vertex.
        tests, seconds: effort.
    """

    complete: bool
    refuted: bool
    codes: IntArray
    positions: FloatArray
    points: FloatArray
    best: float
    point: FloatArray
    tests: int
    seconds: float


@dataclass(eq=False)
class _Part:
    """Cones in preorder, then what a slice made of them: the nodes that are done and the parts that follow."""

    cones: FloatArray
    depths: IntArray
    codes: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    positions: FloatArray = field(default_factory=lambda: np.zeros(0))
    following: "list[_Part]" = field(default_factory=list)


def explore(
    output: Output,
    limit: float,
    *,
    notable: float = np.inf,
    pool: Parallel | None = None,
    busy: int = 1,
    max_tests: int | None = None,
    deadline: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
) -> Exploration:
    """Cut cones until each passes the test for ``limit`` or has a vertex above it.

    Args:
        output: what is bounded.
        limit: the price ‖f(u)‖/‖u‖ that is to be shown.
        notable: vertices with a larger price are reported, a few hundred for each slice.
        pool: where slices run, or None for this thread.
        busy: slices that keep the pool busy.
        max_tests: limit on tests, or None.
        deadline: value of ``time.perf_counter()`` at which to stop. Compiling the kernel, which takes some ten seconds
            the first time after an installation, puts it off.
        callback: called after every batch; a true value ends the search.
    """
    run = _Exploration(output, limit, notable)
    while run.queue:
        late = deadline is not None and time.perf_counter() >= deadline + run.compiling
        if late or (max_tests is not None and run.tests >= max_tests):
            break
        run.batch(pool, busy, None if max_tests is None else max_tests - run.tests)
        if callback is not None and callback(run.progress()):
            break
    return run.result()


class _Exploration:
    def __init__(self, output: Output, limit: float, notable: float) -> None:
        self.output, self.limit, self.notable = output, limit, notable
        self.begin = time.perf_counter()
        self.compiling = 0.0
        self.root = _Part(output.roots, np.zeros(len(output.roots), dtype=np.int64))
        self.queue: deque[_Part] = deque([self.root])
        self.tests, self.best, self.point = 0, 0.0, np.zeros(len(output.metric))
        self.points: list[FloatArray] = []
        self.refuted = False

    def batch(self, pool: Parallel | None, busy: int, left: int | None) -> None:
        """One slice of the first waiting part, or of as many as keep the pool busy; at most ``left`` tests."""
        # Small searches are over before the fast kernel is there.
        if self.tests < PLAIN_TESTS:
            chosen = [self.queue.popleft()]
            budget = PLAIN_SLICE if left is None else min(PLAIN_SLICE, left)
            results = [_slice(self.output, chosen[0], self.limit, self.notable, budget, plain=not is_compiled())]
        else:
            if not is_compiled():
                begin = time.perf_counter()
                _slice(self.output, self.queue[0], self.limit, self.notable, 1)
                self.compiling = time.perf_counter() - begin
            count = min(busy, len(self.queue), busy if left is None else left)
            chosen = [self.queue.popleft() for _ in range(count)]
            budget = SLICE if left is None else min(SLICE, left // count)
            if pool is None:
                results = [_slice(self.output, part, self.limit, self.notable, budget) for part in chosen]
            else:
                work = delayed(_slice)
                results = pool(work(self.output, part, self.limit, self.notable, budget) for part in chosen)
        for part, (codes, positions, cones, depths, found, best, point) in zip(chosen, results, strict=True):
            part.codes, part.positions = codes, positions[codes >= 0]
            part.cones, part.depths = part.cones[:0], part.depths[:0]
            self.tests += len(codes)
            self.refuted = self.refuted or bool((codes == kernel.REFUTED).any())
            if len(found):
                self.points.append(found)
            if best > self.best:
                self.best, self.point = best, point
            count = min(len(cones), PARTS_PER_WORKER * busy if busy > 1 else 1)
            pieces = [piece for piece in np.array_split(np.arange(len(cones)), max(count, 1)) if len(piece)]
            part.following = [_Part(cones[piece], depths[piece]) for piece in pieces]
            self.queue.extendleft(reversed(part.following))

    def progress(self) -> Progress:
        waiting = sum(len(part.depths) for part in self.queue)
        share = sum(float(np.exp2(-part.depths.astype(np.float64)).sum()) for part in self.queue)
        done = 1.0 - share / len(self.output.roots)
        return Progress(self.tests, waiting, done, time.perf_counter() - self.begin)

    def result(self) -> Exploration:
        complete = not self.queue and not self.refuted
        codes, positions = self._flat() if complete else (np.zeros(0, dtype=np.int64), np.zeros(0))
        d = len(self.output.metric)
        return Exploration(
            complete=complete,
            refuted=self.refuted,
            codes=codes,
            positions=positions,
            points=np.concatenate(self.points).T if self.points else np.zeros((d, 0)),
            best=float(np.sqrt(self.best)),
            point=self.point,
            tests=self.tests,
            seconds=time.perf_counter() - self.begin,
        )

    def _flat(self) -> tuple[IntArray, FloatArray]:
        """All nodes in preorder."""
        codes, positions = [], []
        stack = [self.root]
        while stack:
            part = stack.pop()
            codes.append(part.codes)
            positions.append(part.positions)
            stack.extend(reversed(part.following))
        return np.concatenate(codes), np.concatenate(positions)


def _slice(
    output: Output, part: _Part, limit: float, notable: float, budget: int, *, plain: bool = False
) -> tuple[IntArray, FloatArray, FloatArray, IntArray, FloatArray, float, FloatArray]:
    """One call of the kernel."""
    search = kernel.explore if plain else fast_explore()
    answer: tuple[IntArray, FloatArray, FloatArray, IntArray, FloatArray, float, FloatArray] = search(
        output.rows,
        output.weights,
        output.linear,
        output.metric,
        part.cones,
        part.depths,
        limit**2,
        notable**2,
        budget,
    )
    return answer
