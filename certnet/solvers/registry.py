"""Solvers by name. No solver replaces another silently: what was asked for runs, or an error says why not."""

import importlib
from typing import Any, NamedTuple, cast

import numpy as np

from certnet.runtime.public import public
from certnet.solvers.interface import Callback, Repair, Solver, SolverOptions, SolverResult, WarmStart
from certnet.solvers.rounds import round_seconds
from certnet.solvers.warm_start import usable
from formulations import InputError, Program
from formulations.arguments import function

AUTO = "auto"
AUTO_LIMIT = 3000
"""Entries of W and t up to which "auto" means the interior point; beyond, ADMM."""
FORM_LIMIT = 400
"""Generators of a form program up to which "auto" means the interior point."""
HASTE_LIMIT = 150
"""The same of any program where time is limited. Measured, seconds of one core: ionosphere (175 rows) logistic with
penalised biases, γ = 3, ADMM 7.5 % gap after 16, interior point 70 % after 9; squared loss, γ = 0.1, ADMM 0.719 after
6.5, interior point 0.050 after 8. With free biases, `certnet.train` after 60: wine (178 rows) γ = 1 ADMM 2.3 %,
interior point 3.1 %; γ = 0.1 4.3 and 5.3 %; breast cancer (341 rows) γ = 3 6.6 and 7.0 %."""

SOLVERS = {
    "interior-point": "certnet.solvers.interior_point",
    "admm": "certnet.solvers.admm",
    "clarabel": "certnet.solvers.modelled",
    "scs": "certnet.solvers.modelled",
    "mosek": "certnet.solvers.modelled",
}
"""The module of each solver; it is imported when the solver is asked for, and holds a function of that name."""
NATIVE = ("interior-point", "admm")
"""Solvers of this package, which need nothing else and take form programs."""


def available_solvers() -> dict[str, str | None]:
    """Every solver by name: None when it can run here, otherwise a sentence that says what is missing."""
    return {name: None if name in NATIVE else _module(name).unavailable(name) for name in SOLVERS}


def _module(name: str) -> Any:
    """The module of a solver; those that wrap another package have ``unavailable``."""
    return importlib.import_module(SOLVERS[name])


def get_solver(name: str) -> Solver:
    """The solver of this name.

    Raises:
        InputError: no solver has this name, or it cannot run here.
    """
    if name not in SOLVERS:
        raise InputError(f"There is no solver {name!r}; choose {AUTO} or one of {', '.join(SOLVERS)}.")
    if name not in NATIVE and (reason := _module(name).unavailable(name)) is not None:
        raise InputError(reason)
    return cast(Solver, getattr(_module(name), name.replace("-", "_")))


class Choice(NamedTuple):
    """What "auto" stands for, and why, as the end of a sentence."""

    solver: str
    reason: str


def choose_solver(program: Program, time_limit: float | None = None) -> Choice:
    """What "auto" means for a program: the interior point up to ``AUTO_LIMIT`` entries of W and t, ADMM beyond.

    ADMM also when a first round of the interior point would hardly fit into ``time_limit``, by a guess and by
    ``HASTE_LIMIT``. A form program goes to the interior point when it has at most ``FORM_LIMIT`` generators, and any
    program with inequalities besides the signs does.
    """
    space = program.space
    if program.beyond_signs:
        return Choice("interior-point", "no other solver takes inequalities besides the signs, or equalities")
    if time_limit is not None and space.neurons > HASTE_LIMIT:
        return Choice("admm", f"time is limited and there are {space.neurons} generators, more than {HASTE_LIMIT}")
    if program.loss is None:
        small = space.neurons <= FORM_LIMIT
        return Choice("interior-point" if small else "admm", f"the form has {space.neurons} generators")
    constraints = program.shape[0] * program.shape[1] + space.neurons
    there_are = f"there are {constraints} dual variables without the products"
    if constraints > AUTO_LIMIT:
        return Choice("admm", f"{there_are}, more than {AUTO_LIMIT}")
    seconds = round_seconds(constraints + space.face_order)
    if time_limit is not None and not (seconds <= time_limit):
        return Choice("admm", f"one round of the interior point may take {seconds:.0f} s")
    return Choice("interior-point", f"{there_are}, at most {AUTO_LIMIT}")


@np.errstate(all="ignore")
@public(warm_start=tuple, repair=function)
def solve(
    program: Program,
    solver: str = AUTO,
    *,
    time_limit: float | None = None,
    tolerance: float = 1e-6,
    max_iterations: int | None = None,
    callback: Callback | None = None,
    warm_start: WarmStart | None = None,
    device: str = "cpu",
    repair: Repair | None = None,
) -> SolverResult:
    """Solve the DNN relaxation of ``program`` with the solver of this name; the result says which one ran.

    Args:
        program: usually the presolved one; numbers should be of order one. Form programs need a native solver, and
            inequalities besides the signs the interior point.
        solver: "auto" (see ``choose_solver``), "interior-point", "admm", "clarabel", "scs" or "mosek".
        time_limit: seconds, or None.
        tolerance: relative residual at which to stop.
        max_iterations: or None for the solver's own default.
        callback: called now and then; a true value stops the solve. Solvers of other packages ignore it.
        warm_start: iterates of a similar program, or of an earlier solve of the same (``Progress.iterate``). Solvers of
            other packages ignore it.
        device: "cpu" or "cuda", where the matrices of the ADMM live; other solvers ignore it.
        repair: called with a dual, and with ``factors`` by name (False: only roughly), in place of repair in the
            program's own coordinates; returns the repaired dual and its value. Solvers of other packages ignore it.

    Raises:
        InputError: an unknown solver, one that cannot run here, or options that make no sense.
    """
    if time_limit is not None and not (time_limit > 0):
        raise InputError(f"time_limit must be a positive number of seconds, not {time_limit}.")
    if not (0 < tolerance < 1):
        raise InputError(f"tolerance must lie between 0 and 1, not {tolerance}.")
    if max_iterations is not None and not (max_iterations > 0):
        raise InputError(f"max_iterations must be positive, not {max_iterations}.")
    name = choose_solver(program, time_limit).solver if solver == AUTO else solver
    chosen = get_solver(name)
    if program.beyond_signs and name != "interior-point":
        raise InputError(f"solver '{name}' takes no inequalities besides the signs; use 'interior-point'.")
    if program.loss is None and name not in NATIVE:
        raise InputError(f"solver '{name}' cannot bound a form; choose one of {', '.join(NATIVE)}.")
    start = usable(program, warm_start)
    return chosen(program, SolverOptions(time_limit, tolerance, max_iterations, callback, start, device, repair))
