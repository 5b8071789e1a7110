"""Closing the gap in few dimensions: exact pricing by subdivision, and training with the neurons that it finds.

The subdivision is run for a coarse gap first, then for finer ones. Where it meets points whose price exceeds γ, they
become neurons, and the next run is about the residual of the better network. So W converges while the runs get finer,
and at any moment the last run that was complete proves a bound.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from certificates import Certificate, Report
from certificates.failure import Deadline
from certificates.making.assemble import assemble_proof, prove, sigma_of
from certificates.making.mending import mend
from certificates.subdivision import Subdivision
from certnet.search.best_first import Ending, outlived
from certnet.search.cones import Exploration, basis_of, explore, output_of
from certnet.search.pool import pool as pool_of
from certnet.search.price import SearchSummary, bound_from_price, price_for_gap
from certnet.training.polish import Network, exchange, offered_dual
from certnet.training.pricing import Pricing, climb
from certnet.training.trainer import Better
from formulations import Presolved
from formulations._validation import FloatArray

LARGEST_DIMENSION = 5
"""Number of features up to which the weight space is cut."""
REGION_SHARE = 1e-4
"""Share of a free hidden bias's region in the cost of u: a price is then at most half of this too large, relatively."""
PAYS = 1e-8
"""Relative excess of a price over γ from which a point is worth a neuron."""
MARGINS = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Relative room between a price that is shown and the one that is claimed, tried in turn."""
MENDINGS = 3
"""Times that a proof is tried, with the leaves cut that failed, before more room is left."""

FIRST_GAP, FINER, AHEAD, GOAL_SHARE = 0.3, 0.3, 3.0, 0.9
"""Gap of the first run; factor between the gaps of runs, at most; multiple of the gap that the prices seen would leave,
at most; part of the gap that is asked of the last run, where the rest is for rounding and the next neurons."""
MOST_NEURONS = 200
"""That one round adds, and width up to which all weights descend together afterwards."""
SETTLED, PROGRESS, PATIENCE = 0.3, 1e-3, 3
"""A finer gap is next once prices exceed γ by at most this part of what the gap allows; the objective must fall by this
part of the gap for a fit or a round to count; so many rounds that do not are the end. Measured: on Iris at γ = 0.1 to a
gap of 1e-6, four seeds, one fit for each round takes 313,000 tests, fits while they count 158,000."""
ROOM = 0.1
"""How far above the largest price the last run aims, as part of what the gap allows."""
CLIMBING_SHARE, TRAINING_SHARE, SEARCH_SHARE, CHECK_SHARE = 0.1, 0.5, 0.35, 0.6
"""Parts of the time left that looking for neurons, training, one run and the check of it may take."""
CHECKED, SAMPLE_SHARE = 20_000, 0.15
"""Tests that the checker repeats in a second, until a run is checked that takes about this part of the time left.
Measured on Iris with cross-entropy: 67,000 on a core of its own, 11,000 on one shared by three."""
BETWEEN = 0.7
"""Part of the gap of the last complete run from which no coarser one is worth a run."""


@dataclass(frozen=True, eq=False)
class _Proved:
    """A complete run: ``h(W) ≤ price``, hence ``bound`` in original units."""

    W: FloatArray
    price: float
    bound: float
    found: Exploration


@dataclass(eq=False)
class SubdivisionSearch:
    """One attempt to close a gap.

    Attributes:
        presolved: of the training program, which has at most ``LARGEST_DIMENSION`` features.
        network: U (d×m) and V (c×m), at first that to start from, of positive objective.
        gap: relative gap at which to stop.
        left: seconds left, or None.
        tell: called with the tests so far, the objective and the bound.
        max_tests: limit on tests, or None.
        workers, scheduler: threads, or the address of a Dask cluster to use instead.
        train: let points of too large a price become neurons. Without it the residual stays that of the network.
        better: called with the network whenever neurons were added.
        take: called with each certificate that was proved on the way, with its report.
        provenance: of all its certificates.
    """

    presolved: Presolved
    network: Network
    gap: float
    _: KW_ONLY
    left: Callable[[], float | None]
    tell: Callable[[int, float, float], None]
    max_tests: int | None
    workers: int
    scheduler: str | None
    train: bool = True
    better: Better | None = None
    take: Callable[[tuple[Certificate, Report]], None] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.merged = self.presolved.rows
        self.basis = basis_of(self.merged.program.space.generators)
        self.program, self.original = self.merged.program.with_share(REGION_SHARE), self.merged.original
        self.objective = self.original.objective(*self.network)
        self.proved: _Proved | None = None
        # Directions that the dual of a loss with kinks has to respect.
        self.known = np.zeros((len(self.basis), 0))
        self.tests, self.ending, self.checked = 0, Ending(), float(CHECKED)
        # The largest price of the last residual at a known point, and whether no longer search would prove more.
        self.largest, self.exhausted = 0.0, False
        self.begin = time.perf_counter()

    @property
    def bound(self) -> float:
        """The largest bound so far, in original units."""
        return -np.inf if self.proved is None else self.proved.bound

    def closed(self) -> bool:
        """True when the bound is as near to the objective as asked for."""
        return self.objective - self.bound <= self.gap * self.objective

    def run(self) -> None:
        """Search and train until the gap is closed, or until time, tests or ideas run out; a failure is the end too."""
        self.ending = outlived(self._rounds)

    def _rounds(self) -> None:
        # The kernel holds no lock.
        with pool_of(self.workers, self.scheduler, threads=True) as (self.pool, self.busy):
            goal = GOAL_SHARE * self.gap
            asked, shown, idle = max(FIRST_GAP, goal), 1.0, 0
            while not self.closed() and idle < PATIENCE:
                W = offered_dual(self.merged, self.network, self.known).W
                limit = price_for_gap(self.program, W, self.objective, asked)
                found = self._explore(W, limit)
                if found is None:
                    # Nothing as fine can be afforded.
                    asked = goal = float(np.sqrt(asked * shown))
                    spent = self.max_tests is not None and self.tests >= self.max_tests
                    if self._deadline(1.0).passed or spent or asked > BETWEEN * shown:
                        return
                    continue
                if self.closed():
                    return
                shown = asked if found.complete else shown
                maximisers, before = self._climb(W, found), self.objective
                is_better = self.train and self._add_neurons(maximisers, asked)
                if not is_better and (found.refuted or asked <= goal):
                    # Nothing lowers the objective any more. A more accurate fit may still be a better dual.
                    if not self.train or idle + 1 >= PATIENCE:
                        break
                    self._fit(np.zeros((len(self.basis), 0)), 0.0, self._deadline(TRAINING_SHARE))
                    idle += 1
                    continue
                counts = before - self.objective > PROGRESS * asked * before
                idle = 0 if counts or found.complete else idle + 1
                settled = self.largest - self.program.gamma <= SETTLED * (limit - self.program.gamma)
                if found.complete and (settled or not is_better):
                    seen = bound_from_price(self.program, W, max(self.largest, self.program.gamma))
                    asked = max(min(FINER * asked, AHEAD * (1.0 - seen / before)), goal)
            if not self.closed():
                self._show_largest_price(goal)

    def _show_largest_price(self, goal: float) -> None:
        """The last resort: prove the largest price that is known, where it is larger than was asked for."""
        W = offered_dual(self.merged, self.network, self.known).W
        allowed = price_for_gap(self.program, W, self.objective, goal) / self.program.gamma - 1.0
        room = max(ROOM * allowed, 1e-9)
        while room < 1.0 and not self.exhausted:
            found = self._explore(W, max(self.program.gamma, self.largest) * (1.0 + room))
            if found is None:
                return
            self._climb(W, found)
            self.exhausted, room = found.complete, 10.0 * room

    def _deadline(self, share: float) -> Deadline:
        """After a share of the time left."""
        seconds = self.left()
        return Deadline.after(None if seconds is None else share * seconds)

    def _climb(self, W: FloatArray, found: Exploration) -> Pricing:
        """The maximisers near the points of a run; the largest price is kept."""
        points, deadline = self.basis @ found.points, self._deadline(CLIMBING_SHARE)
        maximisers = climb(self.original, self.merged.undo_W(W), points, deadline=deadline)
        self.largest = max(found.best, maximisers.best)
        return maximisers

    def _explore(self, W: FloatArray, limit: float) -> Exploration | None:
        """One run; None when it was cut short."""
        seconds = self.left()
        left = None if self.max_tests is None else self.max_tests - self.tests
        if seconds is not None:
            left = min(int(self.checked * CHECK_SHARE * seconds), sys.maxsize if left is None else left)
        if not limit > 0 or (left is not None and left <= 0):
            return None
        before = self.tests
        found = explore(
            output_of(self.program, W, self.basis),
            limit,
            notable=self.program.gamma * (1.0 + PAYS),
            pool=self.pool,
            busy=self.busy,
            max_tests=left,
            deadline=self._deadline(SEARCH_SHARE),
            callback=lambda tests: self.tell(before + tests, self.objective, self.bound),
        )
        self.tests += found.tests
        if not found.complete and not found.refuted:
            return None
        bound = bound_from_price(self.program, W, limit)
        if found.complete and bound > self.bound:
            self.proved = _Proved(W, limit, bound, found)
            self._time_check()
        self.tell(self.tests, self.objective, self.bound)
        return found

    def _time_check(self) -> None:
        """See how fast the check of the last run is, where that is soon known and further runs may follow."""
        seconds = self.left()
        if seconds is None or self.proved is None or self.closed():
            return
        if not (self.proved.found.tests <= self.checked * SAMPLE_SHARE * seconds):
            return
        begin = time.perf_counter()
        proof = self.certify(*self.network)
        self.checked = self.proved.found.tests / (time.perf_counter() - begin)
        if self.take is not None and proof is not None:
            self.take(proof)

    def _add_neurons(self, maximisers: Pricing, gap: float) -> bool:
        """Let maximisers that pay join the network; True when the objective falls.

        Climbing costs little beside a run, so it goes on from there while the objective falls.
        """
        before, deadline = self.objective, self._deadline(TRAINING_SHARE)
        while True:
            pays = maximisers.values > self.original.gamma * (1.0 + PAYS)
            directions, last = maximisers.directions[:, pays][:, :MOST_NEURONS], self.objective
            self.known = np.hstack([self.known, directions])
            if not pays.any():
                break
            self._fit(directions, gap, deadline)
            if deadline.passed or not last - self.objective > PROGRESS * gap * last:
                break
            W = offered_dual(self.merged, self.network, self.known).W
            starts = np.hstack([directions, self.network[0]])
            maximisers = climb(self.original, self.merged.undo_W(W), starts, deadline=deadline)
        return self.objective < before

    def _fit(self, directions: FloatArray, gap: float, deadline: Deadline) -> None:
        """Train with these directions as further neurons."""
        joint = self.network[0].shape[1] + directions.shape[1] <= MOST_NEURONS
        self.network = exchange(self.original, self.network, directions, joint=joint, gap=gap, deadline=deadline)
        self.objective = self.original.objective(*self.network)
        if self.better is not None:
            self.better(self.network, self.objective)

    def certify(self, U: FloatArray, V: FloatArray) -> tuple[Certificate, Report] | None:
        """The certificate of the best run for a network, with the checker's report; None if no run was complete."""
        if self.proved is None:
            return None
        W, found, price = self.proved.W, self.proved.found, self.proved.price
        sigma = sigma_of(self.original, self.program.gamma**2 * self.program.share)
        proof = Subdivision(self.basis, found.codes, found.positions, sigma)

        def candidates() -> Iterator[Certificate]:
            for margin in MARGINS:
                scaled = self.program.best_scale(W, price, margin) * W
                candidate: Certificate | None = assemble_proof(self.merged, scaled, proof, U, V, self.provenance)
                for _ in range(MENDINGS):
                    if candidate is None:
                        break
                    yield candidate
                    seconds = self.left()
                    candidate = mend(candidate) if seconds is None or seconds > 0 else None

        return prove(candidates())

    def summary(self) -> SearchSummary:
        """What there is to say of the search."""
        W = offered_dual(self.merged, self.network, self.known).W
        goal = price_for_gap(self.program, W, self.objective, GOAL_SHARE * self.gap)
        return SearchSummary(
            kind="subdivision",
            complete=self.closed() or (self.exhausted and not self.train),
            can_go_on=not (self.closed() or self.exhausted),
            interrupted=self.ending.interrupted,
            killed=self.ending.killed,
            nodes=self.tests,
            leaves=0 if self.proved is None else int(np.count_nonzero(self.proved.found.codes < 0)),
            price=np.inf if self.proved is None else self.proved.price / goal,
            steps=0,
            seconds=time.perf_counter() - self.begin,
        )
