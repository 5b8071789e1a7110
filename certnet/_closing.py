"""The last stage of a job that is asked for a gap: branch and bound on the signs of the data points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from certificates import OptimalityCertificate, residual_dual
from certificates.report import CheckReport
from certnet.branching.certificate import certify_search
from certnet.branching.joint import JointSearchResult
from certnet.branching.merged import merged_search
from certnet.branching.search import SearchProgress, SearchResult
from certnet.solvers.interface import State
from certnet.training.trainer import FitResult, fit
from formulations import Presolved
from formulations._validation import FloatArray

GAP_SHARE = 0.7
"""Part of the gap that the search has to reach; the rest is for rounding and the margins of the check."""
PAYS = 1e-7
"""Relative excess of a price over γ from which a point is a neuron that lowers the objective."""
TIME_SHARE = 0.85
"""Part of the time left that searching may take; the rest is for repair and check of all leaves."""
SAME_W = 1e-12
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
    """A network, its certificate and report, and the last search."""

    network: FitResult
    certificate: OptimalityCertificate
    report: CheckReport
    search: SearchResult


def close_gap(
    presolved: Presolved,
    network: FitResult,
    closing: Closing,
    *,
    left: Callable[[], float | None],
    tell: Callable[[float, SearchProgress], None],
    random_state: int,
    provenance: Mapping[str, Any],
    resume: State | None = None,
) -> Closed:
    """Search until the gap is closed; a point of too large a price becomes a neuron, and the search begins anew.

    Args:
        presolved: of the training program.
        network: the best network so far; positive objective.
        closing: when to stop.
        left: seconds left, or None.
        tell: called with the proved bound (original units) now and then.
        random_state: seed of the fits.
        provenance: for the certificate.
        resume: state of an earlier search for the same network; for another it is left aside.

    Raises:
        InputError: the state to resume is damaged.
    """
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
            callback=tell,
            too_large=too_large,
            resume=resume,
            is_about=partial(_is_about, W=W),
        )
        found, free = merged.search, merged.free
        if found.interrupted or found.complete or not found.best > too_large:
            break
        better = _with_neuron(presolved, network, found.direction, left(), random_state)
        if better.objective < network.objective * (1.0 - IMPROVEMENT):
            network = better
        else:
            # Rounding keeps the network from using the direction, which then only loosens the bound a little.
            too_large = np.inf
    certificate, report = certify_search(presolved, merged.W, found, network.U, network.V, provenance=provenance)
    return Closed(network, certificate, report, found)


def _is_about(state: State, W: FloatArray) -> bool:
    """Whether a search was about this W, up to rounding."""
    stored = np.asarray(state.get("W", np.zeros(0)))
    return stored.shape == W.shape and bool(np.abs(stored - W).max() <= SAME_W * np.abs(W).max())


def _with_neuron(
    presolved: Presolved, network: FitResult, direction: FloatArray, seconds: float | None, random_state: int
) -> FitResult:
    """Train on from a network and one more direction."""
    original = presolved.rows.original
    candidates = np.hstack([network.U, presolved.scaling.undo_z(direction)[:, None]])
    limit = None if seconds is None else 0.5 * seconds
    return fit(original, candidates=candidates, random_state=random_state, time_limit=limit, tolerance=PAYS)
