"""The last stage of a job that is asked for a gap: a search that proves a price for the residual of the network.

In few dimensions the weight space is cut (``certnet.search``), else the signs of the data points are split
(``certnet.search``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from certificates import Certificate, Report
from certificates.making import residual_dual
from certnet.search.certificate import certify_search
from certnet.search.circuits import price_with_circuits
from certnet.search.cone_closing import LARGEST_DIMENSION, SubdivisionSearch
from certnet.search.joint import JointSearchResult
from certnet.search.merged import merged_search
from certnet.search.price import SearchProgress, SearchResult, SearchSummary
from certnet.solvers.interface import State
from certnet.training.polish import Network
from certnet.training.trainer import Better, FitResult, fit
from formulations import Presolved
from formulations._validation import FloatArray

GAP_SHARE = 0.7
"""Part of the gap that the search has to reach; the rest is for rounding and the margins of the check."""
PAYS = 1e-7
"""Relative excess of a price over γ from which a point is a neuron that lowers the objective."""
TIME_SHARE = 0.85
"""Part of the time left that searching may take; the rest is for repair and check of all leaves."""
CIRCUITS_SHARE = 0.1
"""Part of the time left that separating circuits may take."""
SAME_W = 1e-12
FEW_ROWS = 100
COARSE: dict[str, Any] = {"tolerance": 1e-2, "max_rounds": 2}
"""Options of ``fit`` for a network from which closing the gap goes on with exact pricing."""
IMPROVEMENT = 1e-9
"""Relative decrease of the objective for which a search is begun anew."""


@dataclass(frozen=True)
class Closing:
    """How a gap is to be closed.

    Attributes:
        gap: relative gap at which to stop.
        max_nodes: most relaxations, or None.
        workers: processes.
        scheduler: address of a Dask cluster to use instead, or None.
    """

    gap: float
    max_nodes: int | None = None
    workers: int = 1
    scheduler: str | None = None


@dataclass(frozen=True, eq=False)
class Closed:
    """A network, its certificate and report (None if nothing was proved), and what there is to say of the search."""

    network: FitResult
    proof: tuple[Certificate, Report] | None
    search: SearchSummary


Tell = Callable[[int, float, float | None, Callable[[], State] | None], None]
"""Called with the nodes so far, the proved bound and the objective reached (None if it stays), both in original units,
and a way to the search's state, if it has one."""


def close_gap(
    presolved: Presolved,
    network: FitResult,
    closing: Closing,
    *,
    left: Callable[[], float | None],
    tell: Tell,
    random_state: int,
    provenance: Mapping[str, Any],
    resume: State | None = None,
    better: Better | None = None,
    circuits: bool = False,
) -> Closed:
    """Search until the gap is closed; a point of too large a price becomes a neuron, and the search begins anew.

    Args:
        presolved: of the training program.
        network: the best network so far; positive objective.
        closing: when to stop.
        left: seconds left, or None.
        tell: called now and then.
        random_state: seed of the fits.
        provenance: for the certificate.
        resume: state of an earlier search for the same network; for another it is left aside.
        better: called with every better network.
        circuits: search with the circuit inequalities that the price of the first network's residual violates. A bound
            then takes fewer nodes, each of which takes longer. Such a search begins anew when it is resumed. In few
            dimensions, where the weight space is cut, they do nothing.

    Raises:
        InputError: the state to resume is damaged.
    """
    if is_low(presolved):
        cut = cut_weight_space(presolved, (network.U, network.V), closing, left=left, tell=tell, better=better)
        if cut.objective < network.objective:
            network = replace(network, U=cut.network[0], V=cut.network[1], objective=cut.objective)
        return Closed(network, cut.certify(network.U, network.V, provenance), cut.summary())
    named = None
    if circuits:
        W = presolved.apply_dual(residual_dual(presolved.rows, network.U, network.V)).W
        limit = None if (seconds := left()) is None else CIRCUITS_SHARE * seconds
        root = price_with_circuits(presolved, W, time_limit=limit)
        presolved, named, resume = root.presolved, root.circuits, None
    program = presolved.program
    too_large = program.gamma * (1.0 + PAYS)
    free: JointSearchResult | None = None
    while True:
        W = presolved.apply_dual(residual_dual(presolved.rows, network.U, network.V)).W
        merged = merged_search(
            presolved,
            W,
            objective=network.objective,
            gap=GAP_SHARE * closing.gap,
            free=free,
            max_nodes=closing.max_nodes,
            time_limit=None if (seconds := left()) is None else max(TIME_SHARE * seconds, 1e-3),
            workers=closing.workers,
            scheduler=closing.scheduler,
            callback=partial(_show, tell, circuits),
            too_large=too_large,
            resume=resume,
            is_about=partial(_is_about, W=W),
        )
        found, free = merged.search, merged.free
        if found.interrupted or found.complete or not found.best > too_large:
            break
        other = _with_neuron(presolved, network, found.direction, left(), random_state)
        if other.objective < network.objective * (1.0 - IMPROVEMENT):
            network = other
            if better is not None:
                better((network.U, network.V), network.objective)
        else:
            # Rounding keeps the network from using the direction, which then only loosens the bound a little.
            too_large = np.inf
    proof = certify_search(presolved, merged.W, found, network.U, network.V, provenance=provenance, circuits=named)
    # Without its circuits the tree means nothing.
    return Closed(network, proof, summary_of(replace(found, state=None) if circuits else found))


def is_small(presolved: Presolved) -> bool:
    """True when branching on signs soon gives more than the relaxation, with which it begins itself."""
    return presolved.program.space.neurons <= FEW_ROWS


def is_low(presolved: Presolved) -> bool:
    """True when there are few enough features to cut the weight space."""
    return bool(presolved.rows.original.X.shape[1] <= LARGEST_DIMENSION)


def cut_weight_space(
    presolved: Presolved,
    network: Network,
    closing: Closing,
    *,
    left: Callable[[], float | None],
    tell: Tell,
    train: bool = True,
    better: Better | None = None,
) -> SubdivisionSearch:
    """A finished search by subdivision that starts from a network U (d×m), V (c×m)."""
    search = SubdivisionSearch(
        presolved,
        network,
        closing.gap,
        left=left,
        tell=lambda tests, objective, bound: tell(tests, bound, objective, None),
        max_tests=closing.max_nodes,
        workers=closing.workers,
        scheduler=closing.scheduler,
        train=train,
        better=better,
    )
    search.run()
    return search


def summary_of(found: SearchResult) -> SearchSummary:
    """What there is to say of a branch and bound on signs."""
    return SearchSummary(
        kind="signs",
        complete=found.complete,
        can_go_on=found.can_go_on,
        interrupted=found.interrupted,
        nodes=found.nodes,
        leaves=sum(1 for _ in found.root.leaves),
        price=found.h_bar / found.unit,
        steps=found.steps,
        seconds=found.seconds,
        state=found.state,
    )


def _is_about(state: State, W: FloatArray) -> bool:
    """Whether a search was about this W, up to rounding."""
    stored = np.asarray(state.get("W", np.zeros(0)))
    return stored.shape == W.shape and bool(np.abs(stored - W).max() <= SAME_W * np.abs(W).max())


def _show(tell: Tell, circuits: bool, bound: float, progress: SearchProgress) -> None:
    tell(progress.nodes, bound, None, None if circuits else progress.state)


def _with_neuron(
    presolved: Presolved, network: FitResult, direction: FloatArray, seconds: float | None, random_state: int
) -> FitResult:
    """Train on from a network and one more direction."""
    original = presolved.rows.original
    candidates = np.hstack([network.U, presolved.scaling.undo_z(direction)[:, None]])
    limit = None if seconds is None else 0.5 * seconds
    return fit(original, candidates=candidates, random_state=random_state, time_limit=limit, tolerance=PAYS)
