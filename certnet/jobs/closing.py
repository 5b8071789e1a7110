"""The search of a job that is asked for a gap: it proves a price for the residual of the network.

In few dimensions the weight space is cut into cones, else the signs of the data points are split.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from certificates.making import residual_dual
from certnet.jobs.best import Proof
from certnet.search.certificate import certify_search
from certnet.search.cone_closing import LARGEST_DIMENSION, SubdivisionSearch
from certnet.search.goal import bound_from_price
from certnet.search.joint import JointSearchResult
from certnet.search.merged import merged_search
from certnet.search.price import SearchProgress, SearchResult
from certnet.search.summary import SearchSummary
from certnet.solvers.interface import State
from certnet.training.polish import Network
from certnet.training.trainer import Better, FitResult, fit
from formulations import InputError, Presolved
from formulations._validation import FloatArray

SDP, GLOBAL = METHODS = ("sdp", "global")
DEFAULT_GAP = 1e-3
PAYS = 1e-7
"""Relative excess of a price over γ from which a point is a neuron that lowers the objective."""
SAME_W = 1e-12
IMPROVEMENT = 1e-9
"""Relative decrease of the objective for which a search is begun anew."""


@dataclass(frozen=True)
class Settings:
    """How a search is begun."""

    gap_share: float = 0.7
    """Part of the gap that it has to reach; the rest is for rounding and the margins of the check. Not measured."""
    time_share: float = 0.85
    """Part of the time left that searching may take; the rest is for repair and check of all leaves. Not measured."""
    few_rows: int = 100
    """Rows up to which branching on signs soon gives more than the relaxation, with which it begins itself. Not
    measured."""


SETTINGS = Settings()


@dataclass(frozen=True)
class Closing:
    """How a gap is to be closed.

    Attributes:
        gap: relative gap at which to stop.
        max_nodes: most relaxations, or None.
        workers: processes.
        scheduler: address of a Dask cluster to use instead, or None.
        train: let directions of too large a price become neurons.
    """

    gap: float
    max_nodes: int | None = None
    workers: int = 1
    scheduler: str | None = None
    train: bool = True


@dataclass(frozen=True, eq=False)
class Closed:
    """A network, a proof (None if there is none), and what there is to say of the search, if there was one."""

    network: FitResult
    proof: Proof | None
    search: SearchSummary | None


Tell = Callable[[int, float, float | None, Callable[[], State] | None], None]
"""Called with the nodes so far, the proved bound and the objective reached (None if it stays), both in original units,
and a way to the search's state, if it has one."""


def closing_of(
    method: str,
    gap: float | None,
    max_nodes: int | None,
    workers: int,
    scheduler: str | None = None,
    *,
    train: bool = True,
) -> Closing | None:
    """What the options say about branching.

    Raises:
        InputError: options that make no sense.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}; choose {' or '.join(METHODS)}.")
    if gap is not None and not (0 < gap < 1):
        raise InputError(f"The gap must lie between 0 and 1, not {gap:g}; 1e-3 means 0.1 %.")
    if max_nodes is not None and not max_nodes > 0:
        raise InputError(f"The number of nodes must be positive, not {max_nodes}.")
    if not workers > 0:
        raise InputError(f"The number of workers must be positive, not {workers}.")
    if gap is None and method == SDP:
        if max_nodes is not None:
            raise InputError("A number of nodes needs a gap to close; give --gap too.")
        return None
    return Closing(gap if gap is not None else DEFAULT_GAP, max_nodes, workers, scheduler, train)


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
    given: Network | None = None,
    known: float = 0.0,
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
        given: the network that the certificate is about, None for the best.
        known: a price over γ that a point is known to have, where nothing is trained; no search can show a lower one.

    Raises:
        InputError: the state to resume is damaged.
    """
    if is_low(presolved):
        cut = SubdivisionSearch(
            presolved,
            (network.U, network.V),
            closing.gap,
            left=left,
            tell=lambda tests, objective, bound: tell(tests, bound, objective, None),
            max_tests=closing.max_nodes,
            workers=closing.workers,
            scheduler=closing.scheduler,
            train=closing.train,
            better=better,
        )
        cut.run()
        if cut.objective < network.objective:
            network = replace(network, U=cut.network[0], V=cut.network[1], objective=cut.objective)
        return Closed(network, cut.certify(*(given or (network.U, network.V)), provenance), cut.summary())
    program, gap = presolved.program, SETTINGS.gap_share * closing.gap
    too_large = program.gamma * (1.0 + PAYS) if closing.train else np.inf
    free: JointSearchResult | None = None
    while True:
        W = presolved.apply_dual(residual_dual(presolved.rows, network.U, network.V)).W
        if not closing.train:
            if not program.best_scale(W) > 0:
                return Closed(network, None, None)
            gap = max(gap, 1.0 - bound_from_price(program, W, known * program.gamma * (1.0 + gap)) / network.objective)

        def show(bound: float, progress: SearchProgress) -> None:
            tell(progress.nodes, bound, None, progress.state)

        def is_about(state: State, W: FloatArray = W) -> bool:
            """Whether a search was about this W, up to rounding."""
            stored = np.asarray(state.get("W", np.zeros(0)))
            return stored.shape == W.shape and bool(np.abs(stored - W).max() <= SAME_W * np.abs(W).max())

        merged = merged_search(
            presolved,
            W,
            objective=network.objective,
            gap=gap,
            free=free,
            max_nodes=closing.max_nodes,
            time_limit=None if (seconds := left()) is None else max(SETTINGS.time_share * seconds, 1e-3),
            workers=closing.workers,
            scheduler=closing.scheduler,
            callback=show,
            too_large=too_large,
            resume=resume,
            is_about=is_about,
        )
        found, free = merged.search, merged.free
        if found.interrupted or found.complete or not found.best > too_large:
            break
        # Train on from the network and one more direction.
        candidates = np.hstack([network.U, presolved.scaling.undo_z(found.direction)[:, None]])
        limit = None if (seconds := left()) is None else 0.5 * seconds
        other = fit(
            presolved.rows.original,
            candidates=candidates,
            random_state=random_state,
            time_limit=limit,
            tolerance=PAYS,
        )
        if other.objective < network.objective * (1.0 - IMPROVEMENT):
            network = other
            if better is not None:
                better((network.U, network.V), network.objective)
        else:
            # Rounding keeps the network from using the direction, which then only loosens the bound a little.
            too_large = np.inf
    about = given or (network.U, network.V)
    proof = certify_search(presolved, merged.W, found, *about, provenance=provenance)
    return Closed(network, proof, summary_of(found))


def is_low(presolved: Presolved) -> bool:
    """True when there are few enough features to cut the weight space."""
    return bool(presolved.rows.original.X.shape[1] <= LARGEST_DIMENSION)


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
