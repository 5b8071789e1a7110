"""Both searches in turn: first W is free, then it is the residual of the network.

With W free a few leaves go far, but every leaf takes part in every solve. With W fixed to the residual of a nearly
optimal network a leaf that is small enough is done with, which is what the last per cent need. So W is free until the
gap is moderate; then the search with fixed W goes on from that tree. The better bound of the two is returned.
"""

from dataclasses import replace

import numpy as np

from certnet.search.certificate import LeafRepair
from certnet.search.joint import joint_search
from certnet.search.price import Look, SearchProgress, SearchResult, price_for_gap, search
from certnet.solvers.interface import State, WarmStart, without_prefix
from certnet.solvers.leaf_admm import takes_leaves
from formulations import Presolved, Program
from formulations._validation import FloatArray

SWITCH = 0.02
"""Relative gap at which W becomes fixed. Measured: on Gaussian data (n = 24, d = 6, γ = 1, squared loss) 0.07 % are
shown after 15 CPU seconds, and with W free to the end 0.18 % after 45."""
LARGEST = 3000
"""Most entries of W and t for which W is free: a Schur complement of this order is solved at every step."""
SMALL = 400
"""The same up to which with one output the interior point bounds the leaves, where the ADMM can. Measured: on pima
indians (766 entries, γ = 10, penalised biases, logistic loss, a busy machine) 45 s of the ADMM leave 14.7 %, 176 s of
the interior point and 82 of a relaxation 12.3 %; two leaves of the ADMM alone leave 12.5 % after 80 s."""
SAME_W = 1e-12
PREFIX = "free_"


def merged_search(
    presolved: Presolved,
    W: FloatArray,
    *,
    objective: float,
    gap: float,
    free: SearchResult | None = None,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    callback: Look = lambda progress: None,
    too_large: float = float("inf"),
    resume: State | None = None,
    root: WarmStart | None = None,
) -> tuple[SearchResult, SearchResult | None]:
    """Bound the optimum within ``gap`` of ``objective``, or as far as nodes and time go.

    Returns the better tree of the two searches, with the effort of both, and the search with W free for another call
    about a better network, None where it was left out. ``best`` and ``direction`` are about the network's residual.

    Args:
        presolved, W: the training program, and the residual of the network in the coordinates of its ``program``.
        objective: of the network, in original units; positive.
        free: of an earlier call about another network.
        max_nodes, time_limit, callback: for both searches together.
        workers, scheduler, too_large: of ``price.search``, with W fixed.
        resume: the state of an earlier call; its search with fixed W goes on if it was about this W, up to rounding.
        root: primal and dual of the relaxation, if it is solved already.

    Raises:
        InputError: the cluster cannot be used, or the state to resume is damaged.
    """
    program, goal = presolved.program, objective * (1.0 - gap)
    stored = without_prefix(resume or {}, PREFIX)
    own = {name: array for name, array in (resume or {}).items() if not name.startswith(PREFIX)}

    size = entries(program)
    large = takes_leaves(program) and (size > SMALL if program.shape[1] == 1 else size > LARGEST and root is not None)
    if free is None and (large or size <= LARGEST) and (resume is None or stored):
        free = joint_search(
            program,
            enough=objective * (1.0 - max(gap, SWITCH)),
            max_nodes=max_nodes,
            time_limit=time_limit,
            callback=lambda progress: callback(replace(progress, state=lambda: _prefixed(progress.state()))),
            resume=stored or None,
            root=root,
            large=large,
        )
    of_free: State = {}
    bound, nodes, steps, seconds = program.to_original(0.0), 0, 0, 0.0
    if free is not None:
        bound, nodes, steps, seconds = free.lower_bound, free.nodes, free.steps, free.seconds
        of_free, is_open = _prefixed(free.state or {}), not bound >= goal
        ends = free.interrupted or free.can_go_on or not is_open
        if ends or (max_nodes is not None and nodes + free.leaves > max_nodes):
            return replace(free, complete=not is_open, can_go_on=is_open, state=of_free if is_open else None), free

    def look(progress: SearchProgress) -> float | None:
        best, both = max(progress.lower_bound, bound), nodes + progress.nodes
        state = progress.state
        return callback(replace(progress, lower_bound=best, nodes=both, state=lambda: {**state(), **of_free}))

    fixed = search(
        program,
        W,
        enough=price_for_gap(program, W, objective, gap),
        tree=None if free is None else free.root,
        max_nodes=None if max_nodes is None else max(max_nodes - nodes, 1),
        time_limit=None if time_limit is None else max(time_limit - seconds, 1e-3),
        workers=workers,
        scheduler=scheduler,
        confirm=LeafRepair(presolved, W).price,
        resume=own if "version" in own and _is_about(own, W) else None,
        callback=look,
        too_large=too_large,
    )
    state = None if fixed.state is None else {**fixed.state, **of_free}
    steps, seconds = steps + fixed.steps, seconds + fixed.seconds
    found = replace(fixed, state=state, nodes=nodes + fixed.nodes, steps=steps, seconds=seconds)
    if free is not None and not fixed.lower_bound >= bound:
        found = replace(found, W=free.W, lower_bound=bound, root=free.root, leaves=free.leaves)
        found = replace(found, unit=free.unit, price=free.price)
    return found, free


def entries(program: Program) -> int:
    """Of W and t."""
    return program.shape[0] * program.shape[1] + program.space.neurons


def _is_about(state: State, W: FloatArray) -> bool:
    stored = np.asarray(state.get("W", np.zeros(0)))
    return stored.shape == W.shape and bool(np.abs(stored - W).max() <= SAME_W * np.abs(W).max())


def _prefixed(state: State) -> State:
    return {PREFIX + name: array for name, array in state.items()}
