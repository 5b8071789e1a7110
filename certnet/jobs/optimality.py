"""How far any two-layer ReLU network is from global optimality, and what would bring it nearer.

The network may come from anywhere. Its own residual is a dual point, a better trained network gives a better one, and
branch and bound on the signs proves how large that dual's price is. Every bound is proved by the independent checker,
about the network that was given.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from certificates import Certificate, Report, Verdict, check
from certificates.failure import Deadline
from certificates.making import certify, residual_dual
from certificates.making.assemble import replace_network
from certificates.making.repair import RepairedDual
from certificates.training import network_objective
from certnet.io.network import TwoLayerNetwork
from certnet.jobs.best import Best
from certnet.jobs.certify import certify as certify_repaired
from certnet.jobs.certify import repaired
from certnet.jobs.closing import (
    COARSE,
    GAP_SHARE,
    PAYS,
    TIME_SHARE,
    Closing,
    close_gap,
    cut_weight_space,
    is_low,
    summary_of,
)
from certnet.jobs.optimality_result import Neuron, OptimalityResult
from certnet.jobs.plan import CHECK, RAW_REPAIR, SMALLEST_LIMIT, Plan
from certnet.jobs.preflight import require_memory
from certnet.jobs.relaxed_bound import relaxed_bound
from certnet.jobs.stages import Staged
from certnet.jobs.train import DEFAULT_GAP, GLOBAL, closing_of
from certnet.runtime.clock import Clock, Event
from certnet.runtime.numerics import computing
from certnet.search.certificate import certify_search
from certnet.search.price import SearchSummary, bound_from_price, price_for_gap, search
from certnet.solvers import Progress
from certnet.training.polish import balance
from certnet.training.pricing import Pricing, price, price_planar
from certnet.training.trainer import FitResult, fit
from formulations import InputError, MergedRows, Presolved, TrainingProgram, merge_rows
from formulations._validation import FloatArray
from formulations.arguments import accepts, array, count, json_object, seconds
from formulations.training import LARGEST

__all__ = ["Neuron", "OptimalityResult", "optimality"]

MOST_STARTS = 200
"""Neurons from which pricing climbs."""
TOLERANCE = 1e-8
"""Relative excess of the price over γ at which training ends; it costs about twice as much of the bound."""
RELAXATION_SHARE = 0.6
"""Part of the time left that the relaxation may take where branching comes after it."""
FEW_DIMENSIONS = 3
LAST_SECONDS = 5.0
"""What the last proof may take after an interruption."""
PRICING_SHARE = 0.1
"""Part of the time left that pricing may take."""
WORSE_THAN_NOTHING = (
    "The zero network has a smaller objective than this one; look whether data, standardisation and gamma are those "
    "it was trained with."
)
REJECTED = "Branching led to no proof that the check accepts; the bound comes from elsewhere."


@np.errstate(all="ignore")
@accepts(program=TrainingProgram, U=array, V=array, time_limit=seconds, random_state=count, provenance=json_object)
def optimality(
    program: TrainingProgram,
    U: ArrayLike,
    V: ArrayLike,
    *,
    gap: float = DEFAULT_GAP,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    train: bool = True,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> OptimalityResult:
    """Prove how far a network is from global optimality among networks of every width.

    Args:
        program: data, targets and γ; the loss is ½·sum of squares, the decay γ/2·(‖U‖² + ‖V‖²).
        U, V: the network, d×m and c×m; with a bias its row is the last one of U.
        gap: branching goes on until the bound is within this relative distance of the best network known.
        time_limit: seconds, or None.
        max_nodes: most relaxations of a search, or None.
        workers: processes of that search.
        scheduler: address of a Dask cluster that it uses instead, such as ``tcp://host:8786``.
        train: train globally as well. Without it branching is about the network's own residual, which proves little
            unless the network is nearly optimal.
        random_state: seed.
        progress: called with an ``Event`` now and then.
        provenance: JSON object that travels in the certificate; no part of the proof.

    Raises:
        InputError: a network that does not fit the program, options that make no sense, or data too large.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    closing = closing_of(GLOBAL, gap, max_nodes, workers, scheduler)
    assert closing is not None  # this method always closes
    network = TwoLayerNetwork(U=np.asarray(U), V=np.asarray(V))
    _, d, c = program.shape
    if (network.U.shape[0], network.V.shape[0]) != (d, c):
        raise InputError(
            f"The network takes {network.U.shape[0]} inputs to {network.V.shape[0]} outputs, but the program has {d} "
            f"features and {c} targets."
        )
    size = max(float(np.abs(weights).max(initial=0.0)) for weights in (network.U, network.V))
    if not size <= LARGEST:
        raise InputError(f"The network has a weight of size {size:.1e}; rescale its neurons to below {LARGEST:.0e}.")
    clock = Clock(time_limit, progress)
    with clock.stage("presolve"):
        merged = merge_rows(program)
        require_memory(merged)
    with computing(merged.program.space.order):
        run = _Run(merged, network.U, network.V, closing, clock, random_state, provenance or {})
        return run.finish(train=train)


class _Run(Staged):
    """One call of ``optimality`` after its arguments were checked; ``best`` is about the given network."""

    def __init__(
        self,
        merged: MergedRows,
        U: FloatArray,
        V: FloatArray,
        closing: Closing,
        clock: Clock,
        random_state: int,
        provenance: Mapping[str, Any],
    ) -> None:
        self.U, self.V = U, V
        self.closing = closing
        self.random_state, self.provenance = random_state, provenance
        self.objective = merged.original.objective(U, V)
        balanced = balance(U, V)
        self.balanced_objective = merged.original.objective(*balanced)
        best = Best(merged, FitResult(*balanced, self.balanced_objective))
        super().__init__(merged, clock, Plan(clock, None, merged.program.space), best)
        self.trained: FitResult | None = None
        self.price_ratio: float | None = None
        self.neuron: Neuron | None = None
        self.search: SearchSummary | None = None
        self.bounds: dict[str, float] = {}

    def finish(self, *, train: bool) -> OptimalityResult:
        """All stages; after Ctrl-C what is left of them."""
        if not self.objective <= 0.5 * float(np.sum(self.program.Y**2)):
            self.clock.note("given network", WORSE_THAN_NOTHING)
        self.stage("given network", lambda: self._prove("residual of the network", self.U, self.V))
        stages: list[tuple[str, Callable[[], None]]] = [("price", self._look_for_neuron)]
        if train:
            stages.insert(0, ("training", self._train))
        for name, work in stages:
            if not (self.interrupted or self.late):
                self.stage(name, work)
        if self.presolved is not None:
            bounding = self._bounding(train=train)
            self.bound(bounding, self.closing.gap, cones=is_low(self.presolved))
            if train and self.closing.max_nodes is None:
                self.go_on(self._again, self.closing.gap)
        left = self.clock.left()
        self.stage("certificate", self._settle, LAST_SECONDS if self.interrupted or left is None else left)
        if self.best.proof is None:
            # Nothing was proved before Ctrl-C or a failure; the trivial bound costs next to nothing.
            self.best.take_proof(*certify(self.merged, [], self.U, self.V, provenance=self.provenance))
        assert self.best.proof is not None
        certificate, report = self.best.proof
        return OptimalityResult(
            program=self.program,
            U=self.U,
            V=self.V,
            certificate=certificate,
            report=report,
            balanced_objective=self.balanced_objective,
            price_ratio=self.price_ratio,
            neuron=self.neuron,
            trained=self.trained,
            bounds=self.bounds,
            search=self.search,
            stages=self.clock.stages,
            interrupted=self.interrupted,
            notes=tuple(self.clock.notes),
        )

    def _bounding(self, *, train: bool) -> Iterator[tuple[str, Callable[[], None]]]:
        """The stages that bound, in the order in which they give most for their time."""
        yield "bound without products", self._shor
        stages: list[tuple[str, Callable[[], None]]] = [
            ("relaxation", self._relax),
            ("branching", partial(self._branch, train=train)),
        ]
        # In few dimensions signs are few and branching is quick; else the relaxation gives most for the time.
        yield from reversed(stages) if self.is_few else stages

    @property
    def is_few(self) -> bool:
        """Whether branching closes gaps quickly: it cuts cones, or there are few patterns of signs."""
        return self.presolved is not None and (is_low(self.presolved) or self.rank <= FEW_DIMENSIONS)

    def _offer(self, source: str, certificate: Certificate, report: Report) -> None:
        """Keep a proof about the given network if it is the best."""
        self.bounds[source] = report.lower_bound
        self.best.take_proof(certificate, report)
        self.clock.tell(source, objective=self.objective, lower_bound=self.best.proved)

    def _certify(self, source: str, dual: RepairedDual) -> None:
        begin = self.clock.seconds
        self._offer(source, *certify_repaired(self.merged, dual, self.U, self.V, provenance=self.provenance))
        if not dual.N.size:
            self.plan.proving = self.clock.seconds - begin

    def _prove(self, source: str, U: FloatArray, V: FloatArray) -> None:
        """The bound that the residual of a network gives, about the given network."""
        self._certify(source, repaired(self.merged, residual_dual(self.merged, U, V)))

    def _shor(self) -> None:
        """The best bound without products."""
        network = self.best.network
        if self.without_products([(self.U, self.V), (network.U, network.V)], self.random_state):
            self._settle()

    def _settle(self) -> None:
        """Have the best dual on the way checked, if it promises more than what is proved."""
        dual = self.best.dual
        if dual is not None and not dual.lower_bound <= self.best.proved:
            self._certify("without products", dual)

    def _train(self) -> None:
        """The best network that the global trainer finds; the given one is among its starts."""
        self._fit(0)
        if not self.interrupted:
            self._prove("residual of the trained network", self.best.network.U, self.best.network.V)

    def _fit(self, number: int) -> None:
        known = self.best.network.U
        found = fit(
            self.program,
            candidates=known if known.shape[1] else None,
            random_state=self.random_state + number,
            time_limit=self.plan.global_training(),
            better=self.best.see,
            **self._effort(),
        )
        self._take(found)
        self.interrupted = found.interrupted

    def _again(self, number: int) -> None:
        """Another start of training, then the search for a proof once more."""
        self.stage("training", partial(self._fit, number))
        if not self.interrupted:
            self.stage("branching", partial(self._branch, train=True))

    def _effort(self) -> dict[str, Any]:
        """Where branching goes on with exact pricing, a coarse network is enough to start from."""
        if self.presolved is not None and is_low(self.presolved):
            return COARSE
        return {"tolerance": TOLERANCE}

    def _take(self, found: FitResult) -> None:
        """The better of two networks is what training has reached."""
        self.best.take_network(found)
        self.trained = self.best.network

    def _look_for_neuron(self) -> None:
        """The direction of the largest price for the residual of the given network."""
        R = self.program.residual(self.U, self.V)
        found = self._priced(R)
        if len(found.values) == 0:
            self.price_ratio = 0.0
            return
        gamma, u = self.program.gamma, found.directions[:, 0]
        activation = np.maximum(self.program.X @ u, 0.0)
        g = R.T @ activation
        size, square = float(np.linalg.norm(g)), float(activation @ activation)
        self.price_ratio = size / gamma
        if not (size > gamma * (1.0 + PAYS) and square > 0):
            return
        strength = (size - gamma) / square
        decrease = 0.5 * (size - gamma) * strength
        self.neuron = Neuron(np.sqrt(strength) * u, np.sqrt(strength) * g / size, self.price_ratio, decrease)

    def _priced(self, R: FloatArray) -> Pricing:
        X = self.program.X
        if X.shape[1] == 2:
            return price_planar(X, R)
        generator = np.random.default_rng(self.random_state)
        starts = np.hstack([balance(self.U, self.V)[0], self.best.network.U])
        starts = starts[:, generator.permutation(starts.shape[1])[:MOST_STARTS]]
        left = self.clock.left()
        deadline = Deadline.after(None if left is None else PRICING_SHARE * left)
        return price(X, R, starts, random_state=generator, deadline=deadline)

    @property
    def rank(self) -> int:
        """Dimension of the span of the data rows."""
        return 0 if self.presolved is None else self.presolved.program.space.dimension

    def _relax(self) -> None:
        """The bound of the relaxation's dual, which holds whatever the network."""
        presolved, left = self.presolved, self.plan.left()
        assert presolved is not None  # there are data directions
        if not self.can_relax():
            return
        share = TIME_SHARE if self.is_few or not self.plan.can_branch() else RELAXATION_SHARE
        if left is not None:
            left = max(share * (left - (RAW_REPAIR + CHECK) * self.plan.eigenvalues), SMALLEST_LIMIT)
        found = relaxed_bound(
            presolved,
            enough=self.best.network.objective * (1.0 - GAP_SHARE * self.closing.gap),
            time_limit=left,
            random_state=self.random_state,
            tell=self._tell_relaxation,
        )
        self.interrupted = found.interrupted
        if found.dual is not None:
            self._certify("relaxation", found.dual)

    def _tell_relaxation(self, progress: Progress) -> None:
        bound = max(progress.lower_bound, self.best.proved)
        self.clock.tell("relaxation", iteration=progress.iteration, lower_bound=bound)

    def _branch(self, *, train: bool) -> None:
        """Branch and bound, for the best network's residual or for that of the given network."""
        presolved = self.presolved
        assert presolved is not None  # there are data directions
        if not self.can_branch(is_low=is_low(presolved)):
            return
        if train:
            closed = close_gap(
                presolved,
                self.best.network,
                self.closing,
                left=self.plan.left,
                tell=self._tell,
                random_state=self.random_state,
                provenance=self.provenance,
                resume=self.search.state if self.search is not None and self.search.can_go_on else None,
                better=self.best.see,
            )
            self.search = closed.search
            self._take(closed.network)
            proof = closed.proof
            if proof is not None:
                certificate = replace_network(proof[0], self.U, self.V)
                proof = certificate, check(certificate)
        else:
            proof = self._search_given(presolved)
        self.interrupted = self.search is not None and self.search.interrupted
        if proof is None:
            return
        if proof[1].verdict is Verdict.PROVED:
            self._offer("branching", *proof)
        else:
            self.clock.note("branching", REJECTED)

    def _search_given(self, presolved: Presolved) -> tuple[Certificate, Report] | None:
        """The price of the given network's residual, whatever it is; None where the residual can prove nothing."""
        program = presolved.program
        W = presolved.apply_dual(residual_dual(presolved.rows, self.U, self.V)).W
        if not program.best_scale(W) > 0:
            return None
        if is_low(presolved):
            network = self.U, self.V
            cut = cut_weight_space(presolved, network, self.closing, left=self.plan.left, tell=self._tell, train=False)
            self.search = cut.summary()
            return cut.certify(*network, self.provenance)
        # No search can show a price below that of a known direction.
        goal = price_for_gap(program, W, self.best.network.objective, GAP_SHARE * self.closing.gap)
        known = (self.price_ratio or 0.0) * program.gamma * (1.0 + GAP_SHARE * self.closing.gap)
        left = self.plan.left()
        found = search(
            program,
            W,
            enough=max(goal, known),
            max_nodes=self.closing.max_nodes,
            time_limit=None if left is None else max(TIME_SHARE * left, 1e-3),
            workers=self.closing.workers,
            scheduler=self.closing.scheduler,
            callback=lambda progress: self._tell(progress.nodes, bound_from_price(program, W, progress.h_bar)),
        )
        self.search = summary_of(found)
        return certify_search(presolved, W, found, self.U, self.V, provenance=self.provenance)

    def _tell(self, nodes: int, bound: float, objective: float | None = None, state: object = None) -> None:
        self.clock.tell("branching", iteration=nodes, lower_bound=max(bound, self.best.proved))

    def _rounded_objective(self) -> float:
        program = self.program
        return network_objective(program.X, program.Y, program.gamma, self.U, self.V)
