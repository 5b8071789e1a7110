"""From candidate hidden weights to a good network: group lasso, polishing and column generation.

Nothing here proves anything. The stopping test uses a heuristic for h(W) (exact in the plane), so ``price_ratio`` is
information; certificates come from elsewhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from certificates.failure import Deadline
from certnet.runtime.public import public
from certnet.training import polish as weights
from certnet.training.coordinates import Coordinates
from certnet.training.polish import Network
from certnet.training.pricing import Pricing, distinct, drawn, is_exact, largest_prices, length, normalised, values
from certnet.training.ridge import best_ridge, responses
from formulations._validation import FloatArray, as_matrix, as_positive
from formulations.arguments import matrices
from formulations.training import SMALLEST, TrainingProgram

FIRST_COLUMNS = 400  # Directions of the targets' own prices that the first round gets.
NEW_COLUMNS = 100  # Directions that join in a round.
FIRST_ORDER = 2500  # Directions times outputs of the first group lasso, without those of the best network.
STALLED_ROUNDS = 4  # Rounds without gain after which it ends.
TIGHT = 0.9  # Price over γ from which a direction stays a constraint of the dual of a loss with kinks.
ACCURACY = 1e-3  # Of output weights far from the end, relative to the excess of the price over γ.

# A search for prices. A thorough one climbs from every neuron; PATIENCE of them follow a usual one that finds nothing.
SOME_NEURONS, SOME_SAMPLES, MANY_SAMPLES, FEWEST_SAMPLES = 60, 60, 500, 10
CLIMBED = 1_000_000  # Products of starts and rows.
CLOSE = 1.05  # Ratio of price and γ from which the end is near; farther off half-climbed directions are good columns.
SOME_STEPS, MANY_STEPS, PATIENCE = 20, 100, 4
PRICING_SHARE = 0.3  # Part of the time left that one may take.

# Wide descended networks, whose neurons the first round gets. Measured: on 1,000 rows of handwritten digits, squared
# loss, 200 neurons come as far in 300 steps as 100 after 600 steps and a group lasso over three such networks, in a
# tenth of the time; on 300 rows the first round ends 0.3 % higher after one descent of each.
WIDE_STARTS, WIDE_WIDTH, WIDE_ITERATIONS = 3, 200, 300
WIDE_DESCENTS, WIDE_GAIN = 3, 1e-2  # Another follows one that gains so much.
WIDE_SHARE = 0.25  # Part of the time left that one of them may take.

# Quick networks; the second has neurons for each data row, as far as nm² and 10m³ (an eigendecomposition) are few.
QUICK_WIDTH, QUICK_ITERATIONS, QUICK_NEURONS_PER_ROW, QUICK_WORK = 30, 15, 2, 3e8

Better = Callable[[Network, float], None]
"""Takes a network and its objective."""
Watch = Callable[["Round"], bool | None]
"""Called after every round; a true return value stops."""


@dataclass(frozen=True)
class Round:
    """One round of column generation: ``price_ratio`` is the best price found, over γ; 1 means stationary."""

    number: int
    seconds: float
    objective: float
    width: int
    price_ratio: float


@dataclass(frozen=True, eq=False)
class FitResult:
    """The best network found.

    Attributes:
        U, V: weights, (d, m) and (c, m), balanced; m = 0 when no network beats the zero network.
        objective: ``program.objective(U, V)``, with the best output bias.
        history: one entry a round.
        seconds: effort.
        price_ratio: max ‖Rᵀ(Xu)₊‖/γ found for the dual W of the network, at the last round; infinite if unknown.
        converged: the ratio is at most 1 + tolerance.
        interrupted: Ctrl-C ended the fit.
        W: (n, c) the dual of the last round where the loss has kinks: ∇ℓ alone does not tell it there. None otherwise.
    """

    U: FloatArray
    V: FloatArray
    objective: float
    history: tuple[Round, ...] = ()
    seconds: float = 0.0
    price_ratio: float = float("inf")
    converged: bool = False
    interrupted: bool = False
    W: FloatArray | None = None

    @property
    def rounds(self) -> int:
        """Rounds of column generation."""
        return len(self.history)


@np.errstate(all="ignore")
@public(start=matrices)
def fit(
    program: TrainingProgram,
    *,
    candidates: FloatArray | None = None,
    start: Network | None = None,
    random_state: int = 0,
    time_limit: float | None = None,
    max_rounds: int = 200,
    tolerance: float = 1e-6,
    patience: int | None = None,
    callback: Watch | None = None,
    better: Better | None = None,
) -> FitResult:
    """Train a network of any width; the best one found, never worse than the zero network.

    Args:
        program: the training problem.
        candidates: (d, k) hidden directions to start from, of any length, or None.
        start: U (d×m) and V (c×m) to go on from, or None; the result is no worse. With candidates no random ones join.
        random_state: seed; the result depends on it and on the input alone, unless time runs out.
        time_limit: seconds, or None.
        max_rounds: most rounds of column generation.
        tolerance: stop once no direction is found with ‖Rᵀ(Xu)₊‖ > γ(1 + tolerance).
        patience: how often it is looked for with more starts before that is said; None for the usual number.
        callback: see ``Watch``.
        better: called with every network that is better than all before it, of whatever width.

    Raises:
        InputError: candidates or options that cannot be used, or an X whose squares vanish.
    """
    program.require_size()
    directions = np.zeros((program.shape[1], 0))
    if candidates is not None and np.asarray(candidates).size:
        directions = as_matrix("candidates", candidates, rows=program.shape[1])
    patience = PATIENCE if patience is None else patience
    run = max_rounds, as_positive("tolerance", tolerance), patience, callback
    search, interrupted = _ColumnGeneration(program, start, random_state, Deadline.after(time_limit), better), False
    for work in (partial(search.run, directions, *run), search.finish):
        try:
            work()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
    return search.result(interrupted=interrupted)


class _ColumnGeneration:
    """The state of one fit: the best network so far, in coordinates of the row space of X."""

    def __init__(
        self, program: TrainingProgram, start: Network | None, seed: int, deadline: Deadline, better: Better | None
    ) -> None:
        self.started, self.deadline = time.perf_counter(), deadline
        self.original, self.better, self.generator = program, better, np.random.default_rng(seed)
        self.coordinates = Coordinates.of(program)
        self.program = self.coordinates.inner
        self.zero: Network = np.zeros((self.program.shape[1], 0)), np.zeros((program.shape[2], 0))
        self.network, self.cuts = self.zero, self.zero[0]
        self.W: FloatArray | None = None
        self.objective = self.program.objective(*self.zero)
        self.start = None if start is None else (self.coordinates.inverse @ start[0], start[1])
        self.history: list[Round] = []
        self.price_ratio, self.converged = float("inf"), False

    def offer(self, network: Network) -> None:
        """Keep a network that is better than the best so far."""
        value = self.program.objective(*network)
        if value < self.objective:
            self.network, self.objective = network, value
            if self.better is not None:
                self.better((self.coordinates.basis @ network[0], network[1]), value)

    def run(
        self, candidates: FloatArray, max_rounds: int, tolerance: float, patience: int, callback: Watch | None
    ) -> None:
        """Column generation until nothing is found that pays."""
        program, deadline = self.program, self.deadline
        enough, exact = program.gamma * (1 + tolerance), is_exact(program)
        directions = normalised(program, self.coordinates.inverse @ candidates)
        if self.start is not None:
            self.offer(weights.balance(program, *self.start))
        if self.start is None or not directions.shape[1]:
            self._quick_start(directions)
        fresh, stalled = self._first_columns(directions), 0
        for number in range(1, max_rounds + 1):
            if self.deadline.passed:
                return
            before = self.objective
            accuracy = min(max(ACCURACY * (self.price_ratio - 1.0), 1e-10), 1e-5)
            self.offer(weights.refit(program, *self.network, fresh, tolerance=accuracy, deadline=deadline))
            self.offer(weights.polish(program, *self.network, tolerance=accuracy, deadline=deadline))
            prices = self._price(W := self._dual(fresh))
            for _ in range(0 if exact else patience):
                if prices.best > enough or self.deadline.passed:
                    break
                # The usual draw finds nothing: look harder before giving up.
                prices = self._price(W, thorough=True)
            self.price_ratio = prices.best / program.gamma
            spent, width = time.perf_counter() - self.started, self.network[0].shape[1]
            self.history.append(Round(number, spent, self.objective, width, self.price_ratio))
            if not self.deadline.left > 0:
                return
            self.converged = prices.best <= enough
            stalled = stalled + 1 if before - self.objective <= 1e-10 * before else 0
            asked = callback is not None and callback(self.history[-1])
            if self.converged or asked or (stalled >= STALLED_ROUNDS and number > 1):
                return
            fresh = prices.directions[:, prices.values > program.gamma][:, :NEW_COLUMNS]

    def _dual(self, fresh: FloatArray) -> FloatArray:
        """W of the network; under a loss with kinks it respects the fresh directions, and those of earlier rounds."""
        if not self.program.loss.kind.has_kinks:
            return self.program.dual(*self.network)
        self.cuts = np.hstack([self.cuts, fresh])
        self.W = weights.network_dual(self.program, *self.network, self.cuts, deadline=self.deadline)
        self.cuts = self.cuts[:, values(self.program.X, self.W, self.cuts) >= TIGHT * self.program.gamma]
        return self.W

    def _first_columns(self, candidates: FloatArray) -> FloatArray:
        """Candidates and the neurons of wide descended networks; where pricing is exact, what pays most at first.

        The group lasso over the union is at least as good as each of those networks.
        """
        program = self.program
        if self.deadline.passed:
            return candidates[:, :0]
        W = program.dual(*self.zero)
        given = distinct(candidates, values(program.X, W, candidates)).directions
        if is_exact(program):
            return np.hstack([given, self._price(W, thorough=True).directions[:, :FIRST_COLUMNS]])
        wide = [] if self.start is None else [self._descended(self.start)]
        if self.start is None or not given.shape[1]:
            wide += [self._wide_network() for _ in range(WIDE_STARTS - len(wide)) if not self.deadline.passed]
        U, V = (np.hstack(parts) for parts in zip(self.zero, *wide, strict=True))
        order = np.argsort(-length(program, U) * np.linalg.norm(V, axis=0), kind="stable")
        return np.hstack([given, normalised(program, U[:, order[: max(FIRST_ORDER // len(V), NEW_COLUMNS)]])])

    def _quick_start(self, candidates: FloatArray) -> None:
        """Networks within moments, so that an early interruption does not leave the zero network.

        A modest one first, and then one of many neurons, which alone can come near interpolation when the decay is
        small beside the data. Each has candidates and random neurons, and output weights by ridge regression.
        """
        program, (n, rank, _) = self.program, self.program.shape
        affordable = int(min((QUICK_WORK / n) ** (1 / 2), (QUICK_WORK / 10.0) ** (1 / 3)))
        second = [max(min(QUICK_NEURONS_PER_ROW * n, affordable), QUICK_WIDTH)] if rank > 2 else []
        for number, width in enumerate((QUICK_WIDTH, *second)):
            if number and self.deadline.passed:
                return
            starts = drawn(program, program.dual(*self.zero), width, np.random.default_rng(0))
            U = self._of_unit_activation(np.hstack([candidates, starts])[:, :width])
            network = weights.balance(program, U, best_ridge(program, U))
            self.offer(network)
            self.offer(weights.descend(program, *network, max_iterations=QUICK_ITERATIONS, deadline=self.deadline))

    def _of_unit_activation(self, U: FloatArray) -> FloatArray:
        """The columns u of U with (Xu)₊ not zero, scaled until it has norm 1."""
        size = np.linalg.norm(np.maximum(self.program.X @ U, 0.0), axis=0)
        return np.asarray(U[:, size >= SMALLEST] / size[size >= SMALLEST])

    def _wide_network(self) -> Network:
        """A random network of many neurons (at most the critical width), descended."""
        n, d, c = self.program.shape
        U = self._of_unit_activation(self.generator.standard_normal((d, min(WIDE_WIDTH, n * c + 1))))
        size = float(np.linalg.norm(responses(self.program)))
        return self._descended((U, self.generator.standard_normal((c, U.shape[1])) * size / max(U.shape[1], 1)))

    def _descended(self, network: Network) -> Network:
        """The network, descended as long as that pays."""
        deadline, value = Deadline.after(WIDE_SHARE * self.deadline.left), np.inf
        for _ in range(WIDE_DESCENTS):
            network = weights.descend(self.program, *network, max_iterations=WIDE_ITERATIONS, deadline=deadline)
            before, value = value, self.program.objective(*network)
            self.offer(network)
            if deadline.passed or not before - value > WIDE_GAIN * value:
                break
        return network

    def _price(self, W: FloatArray, *, thorough: bool = False) -> Pricing:
        """Directions that may pay for a residual; ``thorough`` climbs from every neuron and from many more starts."""
        program, neurons = self.program, self.network[0]
        if not thorough and neurons.shape[1] > SOME_NEURONS:
            neurons = neurons[:, self.generator.permutation(neurons.shape[1])[:SOME_NEURONS]]
        samples = min(MANY_SAMPLES if thorough else SOME_SAMPLES, max(CLIMBED // len(program.X), FEWEST_SAMPLES))
        steps = MANY_STEPS if thorough or self.price_ratio < CLOSE else SOME_STEPS
        deadline = Deadline.after(PRICING_SHARE * self.deadline.left)
        return largest_prices(
            program, W, neurons, samples=samples, random_state=self.generator, max_steps=steps, deadline=deadline
        )

    def finish(self) -> None:
        """Merge, prune, and come down to the critical width, where rounding alone may raise the objective."""
        for narrower in (weights.merge, partial(weights.prune, tolerance=1e-9), weights.reduce_width):
            network = narrower(self.program, *self.network)
            value = self.program.objective(*network)
            if value <= self.objective * (1 + weights.EQUAL):
                self.network, self.objective = network, value

    def result(self, *, interrupted: bool) -> FitResult:
        """The best network in the coordinates of the caller."""
        U, V = self.coordinates.basis @ self.network[0], self.network[1]
        objective, spent = self.original.objective(U, V), time.perf_counter() - self.started
        return FitResult(
            U, V, objective, tuple(self.history), spent, self.price_ratio, self.converged, interrupted, self.W
        )
