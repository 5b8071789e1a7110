"""From candidate hidden weights to a good network: group lasso, polishing and column generation.

Nothing here proves anything. The stopping test uses a heuristic for h(W) (exact in the plane), so ``price_ratio`` is
information; certificates come from elsewhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from certnet.training.group_lasso import group_lasso
from certnet.training.polish import Network, balance, descend, merge, polish, prune, reduce_width, refit
from certnet.training.pricing import Pricing, distinct, draw_starts, normalised, price, price_planar, values
from certnet.training.ridge import best_ridge
from formulations._validation import FloatArray, as_matrix, as_positive
from formulations.arguments import accepts, count, seconds
from formulations.errors import InputError
from formulations.training import SMALLEST, TrainingProgram

MAX_ROUNDS = 200
FIRST_COLUMNS = 400
NEW_COLUMNS = 100
NULL_DIRECTION = 1e-13
STALLED_ROUNDS = 4
SOME_NEURONS = 60
SOME_SAMPLES = 60
MANY_SAMPLES = 500
PATIENCE = 4
SOME_STEPS = 20
MANY_STEPS = 100
CLOSE = 1.05
WIDE_STARTS = 3
WIDE_WIDTH = 100
WIDE_ITERATIONS = 600
QUICK_WIDTH = 30
QUICK_ITERATIONS = 15
QUICK_NEURONS_PER_ROW = 2
QUICK_WORK, EIGENVALUES = 2e9, 10.0
"""What the second quick network may take by its numbers of rows and neurons, nm² and 10m³."""
CLIMBED, FEWEST_SAMPLES = 1_000_000, 10
"""Products of starts and rows in one search for prices, and the least number of starts."""
PRICING_SHARE = 0.3
"""Part of the time left that one search for prices may take."""

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
        objective: ``program.objective(U, V)``.
        history: one entry a round.
        rounds, seconds: effort.
        price_ratio: max ‖Rᵀ(Xu)₊‖/γ found for the residual R of the network, at the last round; infinite if unknown.
        converged: the ratio is at most 1 + tolerance.
        timed_out: the time limit ended the fit.
        interrupted: Ctrl-C ended the fit.
    """

    U: FloatArray
    V: FloatArray
    objective: float
    history: tuple[Round, ...] = field(default_factory=tuple)
    rounds: int = 0
    seconds: float = 0.0
    price_ratio: float = float("inf")
    converged: bool = False
    timed_out: bool = False
    interrupted: bool = False


@np.errstate(all="ignore")
@accepts(program=TrainingProgram, time_limit=seconds, random_state=count, max_width=count)
def fit(
    program: TrainingProgram,
    *,
    candidates: FloatArray | None = None,
    random_state: int = 0,
    time_limit: float | None = None,
    max_width: int | None = None,
    max_rounds: int = MAX_ROUNDS,
    tolerance: float = 1e-6,
    callback: Callable[[Round], bool | None] | None = None,
    better: Better | None = None,
) -> FitResult:
    """Train a network of any width, or of at most ``max_width``.

    Args:
        program: the training problem.
        candidates: (d, k) hidden directions to start from, of any length, or None.
        random_state: seed; the result depends on it and on the input alone, unless time runs out.
        time_limit: seconds, or None.
        max_width: largest number of neurons, or None.
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
    if max_width is not None and max_width < 0:
        raise InputError(f"max_width must be 0 or more, not {max_width}.")
    if time_limit is not None and not time_limit >= 0:
        raise InputError(f"time_limit must be 0 or more seconds, not {time_limit}.")
    directions = np.zeros((program.shape[1], 0))
    if candidates is not None and np.asarray(candidates).size:
        directions = as_matrix("candidates", candidates, rows=program.shape[1])
    search = _ColumnGeneration(program, random_state, time_limit, tolerance, callback, better)
    try:
        search.run(directions, max_rounds)
    except KeyboardInterrupt:
        search.interrupted = True
    try:
        search.finish(max_width)
    except KeyboardInterrupt:
        if search.interrupted:
            raise
        search.interrupted = True
    return search.result(max_width)


class _ColumnGeneration:
    """The state of one fit: the best network so far, in coordinates of the row space of X."""

    def __init__(
        self,
        program: TrainingProgram,
        random_state: int,
        time_limit: float | None,
        tolerance: float,
        callback: Callable[[Round], bool | None] | None,
        better: Better | None,
    ) -> None:
        self.started = time.monotonic()
        self.deadline = None if time_limit is None else self.started + time_limit
        self.original, self.tolerance, self.callback, self.better = program, tolerance, callback, better
        self.generator = np.random.default_rng(random_state)
        _, singular, Vt = np.linalg.svd(program.X, full_matrices=False)
        rank = max(int(np.sum(singular > NULL_DIRECTION * singular[0])), 1)
        # Directions that X does not see only cost; without them the plane is recognised behind more features.
        self.rotation: FloatArray = Vt[:rank].T if rank < program.shape[1] else np.eye(program.shape[1])
        self.program = (
            TrainingProgram(program.X @ self.rotation, program.Y, program.gamma) if rank < program.shape[1] else program
        )
        self.U: FloatArray = np.zeros((rank, 0))
        self.V: FloatArray = np.zeros((program.shape[2], 0))
        self.objective = self.program.objective(self.U, self.V)
        self.history: list[Round] = []
        self.price_ratio = float("inf")
        self.converged = self.timed_out = self.interrupted = False

    def offer(self, network: Network) -> None:
        """Keep a network that is better than the best so far."""
        value = self.program.objective(*network)
        if value < self.objective:
            (self.U, self.V), self.objective = network, value
            if self.better is not None:
                self.better((self.rotation @ self.U, self.V), value)

    def late(self) -> bool:
        """True after the deadline, from when on nothing long may begin."""
        self.timed_out = self.deadline is not None and time.monotonic() > self.deadline
        return self.timed_out

    def run(self, candidates: FloatArray, max_rounds: int) -> None:
        """Column generation until nothing is found that pays."""
        self._quick_start(normalised(self.rotation.T @ candidates))
        fresh = self._first_columns(normalised(self.rotation.T @ candidates))
        stalled = 0
        for number in range(1, max_rounds + 1):
            if self.late():
                return
            before = self.objective
            self._master(fresh)
            self.offer(polish(self.program, self.U, self.V, deadline=self.deadline))
            R = self.program.residual(self.U, self.V)
            prices = self._price(R)
            for _ in range(PATIENCE if self.program.shape[1] > 2 else 0):
                if prices.best > self.program.gamma * (1 + self.tolerance) or self.late():
                    break
                # The usual draw finds nothing: look harder before giving up.
                prices = self._price(R, thorough=True)
            self._record(number, prices.best)
            if self.late():
                return
            self.converged = prices.best <= self.program.gamma * (1 + self.tolerance)
            stalled = stalled + 1 if before - self.objective <= 1e-10 * before else 0
            asked = self.callback is not None and self.callback(self.history[-1])
            if self.converged or asked or (stalled >= STALLED_ROUNDS and number > 1):
                return
            pays = prices.values > self.program.gamma
            fresh = prices.directions[:, pays][:, :NEW_COLUMNS]

    def _record(self, number: int, best: float) -> None:
        self.price_ratio = best / self.program.gamma
        seconds = time.monotonic() - self.started
        self.history.append(Round(number, seconds, self.objective, self.U.shape[1], self.price_ratio))

    def _first_columns(self, candidates: FloatArray) -> FloatArray:
        """Candidates, the best directions for the targets themselves, and the neurons of wide descended networks.

        The group lasso over the union is at least as good as each of those networks.
        """
        X, Y = self.program.X, self.program.Y
        if self.late():
            return candidates[:, :0]
        found = self._price(Y, thorough=True).directions[:, :FIRST_COLUMNS]
        given = distinct(candidates, values(X, Y, candidates)).directions
        # In the plane pricing is exact and needs no such help.
        attempts = WIDE_STARTS if X.shape[1] > 2 else 0
        wide = [normalised(self._wide_network()[0]) for _ in range(attempts) if not self.late()]
        return np.hstack([given, found, *wide])

    def _quick_start(self, candidates: FloatArray) -> None:
        """Networks within moments, so that an early interruption does not leave the zero network.

        A modest one first, and then one of many random neurons, which alone can come near interpolation when the decay
        is small beside the data.
        """
        n, rank, _ = self.program.shape
        self._random_network(candidates, QUICK_WIDTH)
        if rank > 2 and not self.late():
            affordable = int(min((QUICK_WORK / n) ** (1 / 2), (QUICK_WORK / EIGENVALUES) ** (1 / 3)))
            self._random_network(candidates, max(min(QUICK_NEURONS_PER_ROW * n, affordable), QUICK_WIDTH))

    def _random_network(self, candidates: FloatArray, width: int) -> None:
        """Candidates and random neurons, ridge regression for the output weights, and a short descent."""
        X, Y = self.program.X, self.program.Y
        starts = draw_starts(X, Y, width, np.random.default_rng(0))
        U = np.hstack([candidates, starts])[:, :width]
        H = np.maximum(X @ U, 0.0)
        size = np.linalg.norm(H, axis=0)
        on = size >= SMALLEST
        U = U[:, on] / size[on]
        V = best_ridge(self.program, U)
        live = V.any(axis=0)
        if live.any():
            self.offer(balance(U[:, live], V[:, live]))
            start = U[:, live], V[:, live]
            self.offer(descend(self.program, *start, max_iterations=QUICK_ITERATIONS, deadline=self.deadline))

    def _wide_network(self) -> Network:
        """A random network of WIDE_WIDTH neurons (or the critical width), descended."""
        X, Y = self.program.X, self.program.Y
        width = min(WIDE_WIDTH, len(X) * Y.shape[1] + 1)
        U = draw_starts(X, Y, width, self.generator)
        H = np.maximum(X @ U, 0.0)
        U = U[:, H.any(axis=0)] / np.linalg.norm(H[:, H.any(axis=0)], axis=0)
        V = self.generator.standard_normal((Y.shape[1], U.shape[1])) * np.linalg.norm(Y) / max(U.shape[1], 1)
        network = descend(self.program, U, V, max_iterations=WIDE_ITERATIONS, deadline=self.deadline)
        self.offer(network)
        return network

    def _price(self, W: FloatArray, *, thorough: bool = False) -> Pricing:
        """Directions that may pay for a residual; ``thorough`` climbs from every neuron and from many more starts."""
        if self.program.shape[1] == 2:
            return price_planar(self.program.X, W)
        neurons = self.U
        if not thorough and neurons.shape[1] > SOME_NEURONS:
            neurons = neurons[:, self.generator.permutation(neurons.shape[1])[:SOME_NEURONS]]
        affordable = max(CLIMBED // len(self.program.X), FEWEST_SAMPLES)
        return price(
            self.program.X,
            W,
            neurons,
            samples=min(MANY_SAMPLES if thorough else SOME_SAMPLES, affordable),
            random_state=self.generator,
            # Far from the end half-climbed directions are good columns already.
            max_steps=MANY_STEPS if thorough or self.price_ratio < CLOSE else SOME_STEPS,
            deadline=self._soon(PRICING_SHARE),
        )

    def _soon(self, share: float) -> float | None:
        """A deadline after this part of the time left."""
        now = time.monotonic()
        return None if self.deadline is None else now + share * max(self.deadline - now, 0.0)

    def _master(self, fresh: FloatArray) -> None:
        """Group lasso over the current directions and the fresh ones."""
        U, V = balance(self.U, self.V)
        size = np.linalg.norm(U, axis=0)
        directions = np.hstack([U / size, fresh])
        start = np.hstack([V * size, np.zeros((V.shape[0], fresh.shape[1]))])
        H = np.maximum(self.program.X @ directions, 0.0)
        solution = group_lasso(
            H, self.program.Y, self.program.gamma, start if len(size) else None, deadline=self.deadline
        )
        self.offer(balance(directions, solution.V))

    def finish(self, max_width: int | None) -> None:
        """Prune, merge, and respect the width."""
        self.offer_equal(merge(self.U, self.V))
        self.offer_equal(prune(self.program, self.U, self.V, tolerance=1e-9))
        n, _, c = self.program.shape
        if self.U.shape[1] > n * c + 1:
            self.offer_equal(reduce_width(self.program.X, self.U, self.V))
        if max_width is not None and self.U.shape[1] > max_width:
            self.U, self.V = self._narrow(max_width)
            self.objective = self.program.objective(self.U, self.V)

    def offer_equal(self, network: Network) -> None:
        """Prefer a narrower network of the same objective, up to rounding."""
        value = self.program.objective(*network)
        if value <= self.objective * (1 + 1e-12):
            (self.U, self.V), self.objective = network, value

    def _narrow(self, width: int) -> Network:
        """Drop the neurons that contribute least, in halves, and polish the rest after each."""
        U, V = self.U, self.V
        while U.shape[1] > width:
            target = max(width, U.shape[1] // 2)
            H = np.maximum(self.program.X @ U, 0.0)
            share = np.linalg.norm(H, axis=0) * np.linalg.norm(V, axis=0)
            kept = np.sort(np.argsort(-share, kind="stable")[:target])
            U, V = polish(self.program, *refit(self.program, U[:, kept], V[:, kept]), deadline=self.deadline)
        if self.program.objective(U, V) <= 0.5 * float(np.sum(self.program.Y**2)):
            return U, V
        return np.zeros((U.shape[0], 0)), np.zeros((V.shape[0], 0))

    def result(self, max_width: int | None) -> FitResult:
        """The best network in the coordinates of the caller."""
        U = self.rotation @ self.U
        narrowed = max_width is not None and U.shape[1] > max_width
        if narrowed:
            # Only an interruption during finish leads here.
            U, V = np.zeros((U.shape[0], 0)), np.zeros((self.V.shape[0], 0))
        else:
            V = self.V
        return FitResult(
            U=U,
            V=V,
            objective=self.original.objective(U, V),
            history=tuple(self.history),
            rounds=len(self.history),
            seconds=time.monotonic() - self.started,
            price_ratio=self.price_ratio,
            converged=self.converged,
            timed_out=self.timed_out,
            interrupted=self.interrupted,
        )
