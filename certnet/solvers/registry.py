"""Solvers by name. No solver replaces another silently: what was asked for runs, or an error says why not."""

import importlib
from typing import NamedTuple, cast

import numpy as np

from certnet.solvers._cost import round_seconds
from certnet.solvers.interface import Callback, Solver, SolverOptions, SolverResult, State
from certnet.solvers.warm_start import usable
from formulations import Dual, InputError, Primal, Program
from formulations.arguments import accepts, count, seconds

AUTO = "auto"
AUTO_LIMIT = 3000
"""Entries of W and t up to which "auto" means the interior point; beyond, ADMM."""
FORM_LIMIT = 400
"""Generators of a form program up to which "auto" means the interior point."""
NATIVE = ("interior-point", "admm")
"""Solvers that take form programs."""

_LOCATION = {
    "interior-point": ("certnet.solvers.interior_point", "InteriorPointSolver"),
    "admm": ("certnet.solvers.admm", "AdmmSolver"),
    "clarabel": ("certnet.solvers.modelled", "ClarabelSolver"),
    "scs": ("certnet.solvers.modelled", "ScsSolver"),
    "mosek": ("certnet.solvers.modelled", "MosekSolver"),
}


def _load(name: str) -> Solver:
    module, attribute = _LOCATION[name]
    return cast(Solver, getattr(importlib.import_module(module), attribute)())


def _find(name: str) -> tuple[Solver | None, str | None]:
    """The solver and None, or what keeps it from running here."""
    try:
        solver = _load(name)
    except ImportError as error:
        return None, f"Solver '{name}' cannot be imported here: {error}."
    return solver, solver.unavailable()


def available_solvers() -> dict[str, str | None]:
    """Every solver by name: None when it can run here, otherwise a sentence that says what is missing."""
    return {name: _find(name)[1] for name in _LOCATION}


class Choice(NamedTuple):
    """What "auto" stands for, and why, as the end of a sentence."""

    solver: str
    reason: str


def choose_solver(program: Program, time_limit: float | None = None) -> Choice:
    """What "auto" means for a program: the interior point up to ``AUTO_LIMIT`` entries of W and t, ADMM beyond.

    ADMM also when a first round of the interior point, with a few products, would hardly fit into ``time_limit``. A
    form program goes to the interior point when it has at most ``FORM_LIMIT`` generators, and any program with
    inequalities besides the signs does.
    """
    space = program.space
    if program.beyond_signs:
        return Choice("interior-point", "no other solver takes inequalities besides the signs, or equalities")
    if program.loss is None:
        small = space.neurons <= FORM_LIMIT
        return Choice("interior-point" if small else "admm", f"the form has {space.neurons} generators")
    constraints = program.target.size + space.neurons
    if constraints > AUTO_LIMIT:
        return Choice("admm", f"there are {constraints} dual variables without the products, more than {AUTO_LIMIT}")
    seconds = round_seconds(constraints + space.face_order)
    if time_limit is not None and not (seconds <= time_limit):
        return Choice("admm", f"one round of the interior point may take {seconds:.0f} s")
    return Choice(
        "interior-point", f"there are {constraints} dual variables without the products, at most {AUTO_LIMIT}"
    )


def get_solver(name: str) -> Solver:
    """The solver of this name.

    Raises:
        InputError: no solver has this name, or it cannot run here.
    """
    if name not in _LOCATION:
        raise InputError(f"There is no solver {name!r}; choose {AUTO} or one of {', '.join(_LOCATION)}.")
    solver, reason = _find(name)
    if solver is None or reason is not None:
        raise InputError(reason or f"Solver '{name}' cannot run here.")
    return solver


@np.errstate(all="ignore")
@accepts(program=Program, time_limit=seconds, seed=count)
def solve(
    program: Program,
    solver: str = AUTO,
    *,
    time_limit: float | None = None,
    tolerance: float = 1e-6,
    max_iterations: int | None = None,
    callback: Callback | None = None,
    warm_start: tuple[Primal | None, Dual | None] | None = None,
    seed: int = 0,
    resume: State | None = None,
    device: str = "cpu",
) -> SolverResult:
    """Solve the DNN relaxation of ``program`` with the solver of this name; the result says which one ran.

    Args:
        program: usually the presolved one; numbers should be of order one. Form programs need a native solver, and
            inequalities besides the signs the interior point.
        solver: "auto" (see ``choose_solver``), "interior-point", "admm", "clarabel", "scs" or "mosek".
        time_limit: seconds, or None.
        tolerance: relative residual at which to stop.
        max_iterations: or None for the solver's own default.
        callback: called now and then; a true value stops the solve. Clarabel and MOSEK ignore it.
        warm_start: iterates of a similar program. Clarabel and MOSEK ignore it.
        seed: for solvers that draw random numbers.
        resume: state of an earlier solve (``Progress.state``) of the same program with the same solver and options.
        device: "cpu" or "cuda", where the matrices of the ADMM live; other solvers ignore it.

    Raises:
        InputError: an unknown solver, one that cannot run here, options that make no sense, or a state that does not
            fit.
    """
    if time_limit is not None and not (time_limit > 0):
        raise InputError(f"time_limit must be a positive number of seconds, not {time_limit}.")
    if not (0 < tolerance < 1):
        raise InputError(f"tolerance must lie between 0 and 1, not {tolerance}.")
    if max_iterations is not None and not (max_iterations > 0):
        raise InputError(f"max_iterations must be positive, not {max_iterations}.")
    chosen = get_solver(choose_solver(program, time_limit).solver if solver == AUTO else solver)
    options = SolverOptions(
        time_limit=time_limit,
        tolerance=tolerance,
        max_iterations=max_iterations,
        callback=callback,
        warm_start=usable(program, warm_start),
        seed=seed,
        resume=resume,
        device=device,
    )
    if program.beyond_signs and chosen.name != "interior-point":
        raise InputError(f"solver '{chosen.name}' takes no inequalities besides the signs; use 'interior-point'.")
    if program.loss is None and chosen.name not in NATIVE:
        raise InputError(f"solver '{chosen.name}' cannot bound a form; choose one of {', '.join(NATIVE)}.")
    return chosen.solve(program, options)
