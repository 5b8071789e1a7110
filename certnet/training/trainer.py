"""From candidate hidden weights to a good network: group lasso, polishing and column generation.

Nothing here proves anything. The stopping test uses a heuristic for h(W) (exact in the plane), so ``price_ratio`` is
information; certificates come from elsewhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from certificates.failure import Deadline
from certnet.runtime.public import public
from certnet.training.coordinates import Coordinates
from certnet.training.directions import drawn, is_exact, largest_prices, length, normalised
from certnet.training.polish import (
    EQUAL,
    Network,
    balance,
    descend,
    merge,
    network_dual,
    polish,
    prune,
    reduce_width,
    refit,
)
from certnet.training.pricing import Pricing, distinct, values
from certnet.training.ridge import best_ridge, responses
from formulations._validation import FloatArray, as_matrix, as_positive
from formulations.arguments import matrices
from formulations.errors import InputError
from formulations.losses import has_kinks
from formulations.training import SMALLEST, TrainingProgram

EIGENVALUES = 10.0
"""Cost of an eigendecomposition of order m in units of m³."""


@dataclass(frozen=True)
class Settings:
    """Numbers of a fit that an experiment could move."""

    max_rounds: int = 200
    """Most rounds of column generation. Not measured."""
    first_columns: int = 400
    """Directions of the targets' own prices that the first round gets. Not measured."""
    new_columns: int = 100
    """Directions that join in a round. Not measured."""
    stalled_rounds: int = 4
    """Rounds without gain after which it ends. Not measured."""
    some_neurons: int = 60
    """Neurons of the network that a usual search for prices climbs from. Not measured."""
    some_samples: int = 60
    """Further starts of a usual search for prices. Not measured."""
    many_samples: int = 500
    """The same of a thorough one. Not measured."""
    some_steps: int = 20
    """Circles of a climb far from the end, where half-climbed directions are good columns already. Not measured."""
    many_steps: int = 100
    """The same near the end. Not measured."""
    tight: float = 0.9
    """Price over γ from which a direction stays a constraint of the dual of a loss with kinks. Not measured."""
    close: float = 1.05
    """Ratio of price and γ from which the end is near. Not measured."""
    patience: int = 4
    """Thorough searches after a usual one that finds nothing. Not measured."""
    wide_starts: int = 3
    """Wide descended networks whose neurons the first round gets. Not measured."""
    wide_width: int = 200
    """Their neurons. Measured: on 1,000 rows of handwritten digits, squared loss, 200 come as far in 300 steps as 100
    after 600 steps and a group lasso over three such networks, in a tenth of the time."""
    wide_iterations: int = 300
    """Steps of a descent. Measured: see their neurons."""
    wide_descents: int = 3
    """Most descents of one of them, each from the last. Not measured."""
    wide_gain: float = 1e-2
    """Relative decrease of the objective in a descent above which there is another. Not measured."""
    wide_share: float = 0.25
    """Part of the time left that one of them may take. Not measured."""
    first_order: int = 2500
    """Directions times outputs of the first group lasso, without those of the best network. Not measured."""
    accuracy: float = 1e-3
    """Of output weights far from the end, relative to the excess of the price over γ. Not measured."""
    least_accuracy: float = 1e-5
    """The least such accuracy. Not measured."""
    most_accuracy: float = 1e-10
    """The greatest, near the end. Not measured."""
    quick_width: int = 30
    """Neurons of the first quick network. Not measured."""
    quick_iterations: int = 15
    """Steps of its descent. Not measured."""
    quick_neurons_per_row: int = 2
    """Neurons of the second for each data row. Not measured."""
    quick_work: float = 3e8
    """What it may take by its numbers of rows and neurons, nm² and 10m³. Not measured."""
    climbed: int = 1_000_000
    """Products of starts and rows in one search for prices. Not measured."""
    fewest_samples: int = 10
    """The least number of its starts. Not measured."""
    pricing_share: float = 0.3
    """Part of the time left that one search for prices may take. Not measured."""


SETTINGS = Settings()

Better = Callable[[Network, float], None]
"""Takes a network and its objective."""


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
    history: tuple[Round, ...] = field(default_factory=tuple)
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
    max_rounds: int = SETTINGS.max_rounds,
    tolerance: float = 1e-6,
    callback: Callable[[Round], bool | None] | None = None,
    better: Better | None = None,
) -> FitResult:
    """Train a network of any width.

    Args:
        program: the training problem.
        candidates: (d, k) hidden directions to start from, of any length, or None.
        start: U (d×m) and V (c×m) of a network to go on from, or None; the result is no worse.
        random_state: seed; the result depends on it and on the input alone, unless time runs out.
        time_limit: seconds, or None.
        max_rounds: most rounds of column generation.
        tolerance: stop once no direction is found with ‖Rᵀ(Xu)₊‖ > γ(1 + tolerance).
        callback: called after every round; a true return value stops.
        better: called with every network that is better than all before it, of whatever width.

    Returns:
        The best network found; never worse than the zero network.

    Raises:
        InputError: candidates or options that cannot be used, or an X whose squares vanish.
    """
    program.require_size()
    tolerance = as_positive("tolerance", tolerance)
    if time_limit is not None and not time_limit >= 0:
        raise InputError(f"time_limit must be 0 or more seconds, not {time_limit}.")
    directions = np.zeros((program.shape[1], 0))
    if candidates is not None and np.asarray(candidates).size:
        directions = as_matrix("candidates", candidates, rows=program.shape[1])
    search = _ColumnGeneration(program, start, random_state, time_limit, better)
    interrupted = False
    try:
        search.run(directions, max_rounds, tolerance, callback)
    except KeyboardInterrupt:
        interrupted = True
    try:
        search.finish()
    except KeyboardInterrupt:
        if interrupted:
            raise
        interrupted = True
    return search.result(interrupted=interrupted)


class _ColumnGeneration:
    """The state of one fit: the best network so far, in coordinates of the row space of X."""

    def __init__(
        self,
        program: TrainingProgram,
        start: Network | None,
        random_state: int,
        time_limit: float | None,
        better: Better | None,
    ) -> None:
        self.started, self.deadline = time.perf_counter(), Deadline.after(time_limit)
        self.original, self.better = program, better
        self.generator = np.random.default_rng(random_state)
        self.coordinates = Coordinates.of(program)
        self.program = self.coordinates.inner
        self.zero: Network = np.zeros((self.program.shape[1], 0)), np.zeros((program.shape[2], 0))
        self.network = self.zero
        self.cuts: FloatArray = self.zero[0]
        self.W: FloatArray | None = None
        self.objective = self.program.objective(*self.network)
        self.start = None if start is None else (self.coordinates.inward(start[0]), start[1])
        self.history: list[Round] = []
        self.price_ratio = float("inf")
        self.converged = False

    def offer(self, network: Network) -> None:
        """Keep a network that is better than the best so far."""
        value = self.program.objective(*network)
        if value < self.objective:
            self.network, self.objective = network, value
            if self.better is not None:
                self.better((self.coordinates.outward(network[0]), network[1]), value)

    def late(self) -> bool:
        """Whether nothing long may begin any more."""
        return self.deadline.passed

    def run(
        self,
        candidates: FloatArray,
        max_rounds: int,
        tolerance: float,
        callback: Callable[[Round], bool | None] | None,
    ) -> None:
        """Column generation until nothing is found that pays."""
        s, program, deadline = SETTINGS, self.program, self.deadline
        enough, exact = program.gamma * (1 + tolerance), is_exact(program)
        directions = normalised(program, self.coordinates.inward(candidates))
        if self.start is not None:
            self.offer(balance(program, *self.start))
        self._quick_start(directions)
        fresh = self._first_columns(directions)
        stalled = 0
        for number in range(1, max_rounds + 1):
            if self.late():
                return
            before = self.objective
            accuracy = min(max(s.accuracy * (self.price_ratio - 1.0), s.most_accuracy), s.least_accuracy)
            self.offer(refit(program, *self.network, fresh, tolerance=accuracy, deadline=deadline))
            self.offer(polish(program, *self.network, tolerance=accuracy, deadline=deadline))
            W = self._dual(fresh)
            prices = self._price(W)
            for _ in range(0 if exact else s.patience):
                if prices.best > enough or self.late():
                    break
                # The usual draw finds nothing: look harder before giving up.
                prices = self._price(W, thorough=True)
            self.price_ratio = prices.best / program.gamma
            spent, width = time.perf_counter() - self.started, self.network[0].shape[1]
            self.history.append(Round(number, spent, self.objective, width, self.price_ratio))
            if self.late():
                return
            self.converged = prices.best <= enough
            stalled = stalled + 1 if before - self.objective <= 1e-10 * before else 0
            asked = callback is not None and callback(self.history[-1])
            if self.converged or asked or (stalled >= s.stalled_rounds and number > 1):
                return
            fresh = prices.directions[:, prices.values > program.gamma][:, : s.new_columns]

    def _dual(self, fresh: FloatArray) -> FloatArray:
        """W of the network; under a loss with kinks it respects the fresh directions, and those of earlier rounds."""
        if not has_kinks(self.program.loss.kind):
            return self.program.dual(*self.network)
        self.cuts = np.hstack([self.cuts, fresh])
        self.W = network_dual(self.program, *self.network, self.cuts, deadline=self.deadline)
        tight = values(self.program.X, self.W, self.cuts) >= SETTINGS.tight * self.program.gamma
        self.cuts = self.cuts[:, tight]
        return self.W

    def _first_columns(self, candidates: FloatArray) -> FloatArray:
        """Candidates and the neurons of wide descended networks; where pricing is exact, what pays most at first.

        The group lasso over the union is at least as good as each of those networks.
        """
        s, program = SETTINGS, self.program
        if self.late():
            return candidates[:, :0]
        W = program.dual(*self.zero)
        given = distinct(candidates, values(program.X, W, candidates)).directions
        if is_exact(program):
            return np.hstack([given, self._price(W, thorough=True).directions[:, : s.first_columns]])
        wide = [] if self.start is None else [self._descended(self.start)]
        wide += [self._wide_network() for _ in range(s.wide_starts - len(wide)) if not self.late()]
        U, V = (np.hstack(parts) for parts in zip(self.zero, *wide, strict=True))
        order = np.argsort(-length(program, U) * np.linalg.norm(V, axis=0), kind="stable")
        most = max(s.first_order // program.shape[2], s.new_columns)
        return np.hstack([given, normalised(program, U[:, order[:most]])])

    def _quick_start(self, candidates: FloatArray) -> None:
        """Networks within moments, so that an early interruption does not leave the zero network.

        A modest one first, and then one of many random neurons, which alone can come near interpolation when the decay
        is small beside the data. Each has candidates and random neurons, output weights by ridge regression, and is
        descended for a few steps.
        """
        s, (n, rank, _) = SETTINGS, self.program.shape
        affordable = int(min((s.quick_work / n) ** (1 / 2), (s.quick_work / EIGENVALUES) ** (1 / 3)))
        second = [max(min(s.quick_neurons_per_row * n, affordable), s.quick_width)] if rank > 2 else []
        for number, width in enumerate((s.quick_width, *second)):
            if number and self.deadline.passed:
                return
            starts = drawn(self.program, self.program.dual(*self.zero), width, np.random.default_rng(0))
            U = self._of_unit_activation(np.hstack([candidates, starts])[:, :width], SMALLEST)
            V = best_ridge(self.program, U)
            live = V.any(axis=0)
            if live.any():
                network = U[:, live], V[:, live]
                self.offer(balance(self.program, *network))
                self.offer(descend(self.program, *network, max_iterations=s.quick_iterations, deadline=self.deadline))

    def _of_unit_activation(self, U: FloatArray, least: float) -> FloatArray:
        """The columns u of U with (Xu)₊ larger than that, scaled until it has norm 1."""
        size = np.linalg.norm(np.maximum(self.program.X @ U, 0.0), axis=0)
        on = size >= least
        return np.asarray(U[:, on] / size[on])

    def _wide_network(self) -> Network:
        """A random network of many neurons (at most the critical width), descended."""
        s, program = SETTINGS, self.program
        n, d, c = program.shape
        U = self._of_unit_activation(self.generator.standard_normal((d, min(s.wide_width, n * c + 1))), 1e-300)
        size = float(np.linalg.norm(responses(program)))
        return self._descended((U, self.generator.standard_normal((c, U.shape[1])) * size / max(U.shape[1], 1)))

    def _descended(self, network: Network) -> Network:
        """The network, descended as long as that pays."""
        s, program = SETTINGS, self.program
        deadline, value = Deadline.after(s.wide_share * self.deadline.left), np.inf
        for _ in range(s.wide_descents):
            network = descend(program, *network, max_iterations=s.wide_iterations, deadline=deadline)
            before, value = value, program.objective(*network)
            self.offer(network)
            if deadline.passed or not before - value > s.wide_gain * value:
                break
        return network

    def _price(self, W: FloatArray, *, thorough: bool = False) -> Pricing:
        """Directions that may pay for a residual; ``thorough`` climbs from every neuron and from many more starts."""
        s, program = SETTINGS, self.program
        neurons = self.network[0]
        if not thorough and neurons.shape[1] > s.some_neurons:
            neurons = neurons[:, self.generator.permutation(neurons.shape[1])[: s.some_neurons]]
        affordable = max(s.climbed // len(program.X), s.fewest_samples)
        return largest_prices(
            program,
            W,
            neurons,
            samples=min(s.many_samples if thorough else s.some_samples, affordable),
            random_state=self.generator,
            max_steps=s.many_steps if thorough or self.price_ratio < s.close else s.some_steps,
            deadline=Deadline.after(s.pricing_share * self.deadline.left),
        )

    def finish(self) -> None:
        """Prune, merge, and come down to the critical width."""
        self._prefer(merge(self.program, *self.network))
        self._prefer(prune(self.program, *self.network, tolerance=1e-9))
        n, _, c = self.program.shape
        if self.network[0].shape[1] > n * c + 1:
            self._prefer(reduce_width(self.program, *self.network))

    def _prefer(self, network: Network) -> None:
        """Take a narrower network of the same objective, up to rounding."""
        value = self.program.objective(*network)
        if value <= self.objective * (1 + EQUAL):
            self.network, self.objective = network, value

    def result(self, *, interrupted: bool) -> FitResult:
        """The best network in the coordinates of the caller."""
        U, V = self.coordinates.outward(self.network[0]), self.network[1]
        return FitResult(
            U=U,
            V=V,
            objective=self.original.objective(U, V),
            history=tuple(self.history),
            seconds=time.perf_counter() - self.started,
            price_ratio=self.price_ratio,
            converged=self.converged,
            interrupted=interrupted,
            W=self.W,
        )
