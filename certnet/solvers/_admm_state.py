"""What an ADMM run is made of between two steps, as named arrays, and the check of such arrays from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.solvers._arrays import Array, Arrays
from certnet.solvers.interface import State
from formulations import InputError, Program

VERSION = 2


@dataclass(frozen=True, eq=False)
class Point:
    """V where both maps were evaluated, the step R that followed, the factor F of G there, and the penalty ρ."""

    V: Array
    R: Array
    F: Array
    penalty: float
    primal_residual: float = np.inf
    dual_residual: float = np.inf

    @property
    def rank(self) -> int:
        """Rank of G."""
        return int(self.F.shape[1])

    @property
    def residual(self) -> float:
        """The larger residual."""
        return max(self.primal_residual, self.dual_residual)


@dataclass(frozen=True)
class Schedule:
    """Steps done, and the number of steps at which the penalty is balanced next."""

    iterations: int
    balance: int


def write_state(
    layer: Arrays,
    program: Program,
    at: Point,
    following: Array,
    schedule: Schedule,
    acceleration: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """Copies of everything, on the host; ``following`` is the V of the next step."""
    return {
        "admm": _signature(program),
        "single": np.array(layer.single),
        "schedule": np.array([schedule.iterations, schedule.balance], dtype=np.int64),
        "numbers": np.array([at.penalty, at.primal_residual, at.dual_residual]),
        "V": layer.host(following),
        "at": layer.host(at.V),
        "R": layer.host(at.R),
        "F": layer.host(at.F),
        **acceleration,
    }


def read_point(state: State, layer: Arrays) -> Point:
    """The point of a state that ``check_state`` has accepted."""
    penalty, primal, dual = (float(number) for number in state["numbers"])
    V, R, F = (layer.array(state[name]) for name in ("at", "R", "F"))
    return Point(V, R, F, penalty, primal, dual)


def read_schedule(state: State) -> Schedule:
    """The schedule of a state that ``check_state`` has accepted."""
    iterations, balance = (int(number) for number in state["schedule"])
    return Schedule(iterations, balance)


def check_state(state: State, program: Program, memory: int) -> None:
    """Accept only what ``write_state`` could have written for this program.

    Args:
        state: anything by name.
        program: the one that the solver works on.
        memory: changes that the acceleration may hold.

    Raises:
        InputError: a missing part, a shape or type that does not fit, or a number that is not finite.
    """
    if "admm" not in state or not np.array_equal(state["admm"], _signature(program)):
        raise InputError(
            "the state to resume belongs to another solver, program or version; start anew or resume with the same."
        )
    _require(state, "single", (), np.bool_)
    _require(state, "schedule", (2,), np.int64)
    _require(state, "numbers", (3,), np.float64)
    _require(state, "counts", (4,), np.int64)
    _require(state, "size", (), np.float64)
    real = np.float32 if state["single"] else np.float64
    order, used = program.space.order, int(min(max(state["counts"][0], 0), memory))
    for name in ("V", "at", "R"):
        _require(state, name, (order, order), real)
    _require(state, "F", (order, None), real)
    for name in ("changes", "plain"):
        _require(state, name, (used, order, order), np.float32)
    _require(state, "gram", (memory, memory), np.float64)
    for name in ("V", "at", "R", "F", "changes", "plain", "gram"):
        if not np.isfinite(state[name]).all():
            raise _broken(name)
    penalty, *residuals = state["numbers"]
    if not (0 < penalty < np.inf and all(residual >= 0 for residual in residuals)):
        raise _broken("numbers")
    if not state["size"] >= 0:
        raise _broken("size")
    for name in ("schedule", "counts"):
        if state[name].min() < 0:
            raise _broken(name)


def _signature(program: Program) -> NDArray[np.int64]:
    space, is_form = program.space, program.loss is None
    return np.array([VERSION, is_form, space.neurons, space.dimension, space.outputs], dtype=np.int64)


def _require(state: State, name: str, shape: tuple[int | None, ...], kind: Any) -> None:
    """One part has its type and its shape, in which None stands for any length."""
    part = state.get(name)
    if part is None or not isinstance(part, np.ndarray) or part.dtype != kind:
        raise _broken(name)
    if part.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, part.shape, strict=True)):
        raise _broken(name)


def _broken(name: str) -> InputError:
    return InputError(f"the state to resume is damaged in its part '{name}'; start anew without it.")
