"""Public functions refuse arguments of a wrong type in one sentence that names the right call."""

import functools
import inspect
import json
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from formulations._validation import as_array, as_positive, real_number, shown
from formulations.errors import InputError

Kind = type | tuple[type, ...] | Callable[[str, Any], None]
"""What an argument has to be: an instance of a class, or accepted by a function that raises InputError."""
Function = TypeVar("Function", bound=Callable[..., Any])

_CONVERSIONS = (
    ("sklearn", "convert it with certnet.network_from_sklearn"),
    ("torch", "convert it with certnet.network_from_torch"),
)
_SOURCES = {
    "ReluNetwork": "certnet.read_relu_network reads one from a file",
    "TrainingProgram": "make one with certnet.TrainingProgram(X, Y, gamma)",
    "Certificate": "certnet.train and certnet.verify give one as .certificate, and certnet.read_certificate reads one",
    "InputRegion": "make one with certnet.InputRegion.linf(x, radius) or .l2(x, radius)",
    "UnsafeCase": "certnet.keeps_class and certnet.read_vnnlib make them",
    "Program": "certnet.presolve(program) makes one, as .program",
}


def accepts(**kinds: Kind) -> Callable[[Function], Function]:
    """Let a public function refuse arguments of a wrong type in one sentence that names the right call.

    An argument whose default is None may be None.
    """

    def decorate(function: Function) -> Function:
        parameters = inspect.signature(function).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        in_order = [name for name, parameter in parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY]
        call = ", ".join(name for name, default in defaults.items() if default is inspect.Parameter.empty)
        call = f"certnet.{function.__name__}({call})"

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            # Too many or missing arguments are Python's to refuse, once those that are there are of the right kind.
            for name, value in {**dict(zip(in_order, args, strict=False)), **kwargs}.items():
                if name in kinds and not (value is None and defaults[name] is None):
                    require(name, value, kinds[name], call)
            return function(*args, **kwargs)

        return cast(Function, checked)

    return decorate


def require(name: str, value: Any, kind: Kind, call: str) -> None:
    """Raise InputError unless ``value`` is of this kind; ``call`` is what should have been written."""
    if not isinstance(kind, type | tuple):
        kind(name, value)
    elif not isinstance(value, kind):
        wanted = [one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,))]
        either = " or ".join(f"{'an' if one[0] in 'AEIOU' else 'a'} {one}" for one in wanted)
        raise InputError(f"{name} must be {either}, not {shown(value)}; {_way(value, wanted)}call {call}.")


def _way(value: Any, wanted: list[str]) -> str:
    """How to come from this value to one of the wanted classes, where there is a way."""
    homes = {base.__module__.split(".")[0] for base in type(value).__mro__}
    if "ReluNetwork" in wanted:
        for home, way in _CONVERSIONS:
            if home in homes:
                return f"{way}, then "
    return next((f"{_SOURCES[name]}; " for name in wanted if name in _SOURCES), "")


def _rule(holds: Callable[[Any], bool], wanted: str) -> Callable[[str, Any], None]:
    """Require what this holds for; of the name and ``wanted`` the sentence is made."""

    def check(name: str, value: Any) -> None:
        if not holds(value):
            raise InputError(f"{name} must be {wanted}, not {shown(value)}.")

    return check


def _number(value: Any) -> float:
    number = real_number(value)
    return math.nan if number is None else number


def _is_json_object(value: Any) -> bool:
    try:
        return isinstance(value, Mapping) and bool(json.dumps(dict(value), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return False


seconds = _rule(
    lambda value: value is None or 0 <= _number(value) < math.inf, "a number of seconds, or None for no limit"
)
real = _rule(lambda value: abs(_number(value)) < math.inf, "a finite number")
number = _rule(lambda value: not math.isnan(_number(value)), "a number")
integer = _rule(lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool), "a whole number")
text = _rule(lambda value: isinstance(value, str), "text")
function = _rule(callable, "a function")
count = _rule(lambda value: isinstance(value, numbers.Integral) and _number(value) >= 0, "a whole number of 0 or more")
positive_count = _rule(
    lambda value: isinstance(value, numbers.Integral) and _number(value) > 0, "a whole number of 1 or more"
)
location = _rule(lambda value: isinstance(value, str | os.PathLike), "the path of a file")
json_object = _rule(_is_json_object, "a dictionary that JSON can hold")


def reals(name: str, value: Any) -> None:
    """Require a vector of real numbers."""
    if as_array(name, value).ndim != 1:
        raise InputError(f"{name} must be a list of numbers, not {shown(value)}.")


def matrices(name: str, value: Any) -> None:
    """Require a pair of matrices."""
    if not (isinstance(value, tuple | list) and len(value) == 2 and all(as_array(name, U).ndim == 2 for U in value)):
        raise InputError(f"{name} must be a pair of matrices, U (d×m) and V (c×m), not {shown(value)}.")


def distinct(name: str, values: Iterable[float]) -> tuple[float, ...]:
    """Positive finite numbers as they come; InputError for none, another number, or one that comes twice."""
    numbers = tuple(as_positive(name, value) for value in values)
    if not numbers:
        raise InputError(f"{name} is empty; give at least one positive number.")
    for position, number in enumerate(numbers):
        if number in numbers[:position]:
            raise InputError(f"{name} has {number:g} twice; give every number once.")
    return numbers


def array(name: str, value: Any) -> None:
    """Require what becomes an array of real numbers with at least one dimension."""
    if as_array(name, value).ndim == 0:
        raise InputError(f"{name} must be an array, not {shown(value)}.")


def several(kind: type) -> Callable[[str, Any], None]:
    """Require a list, tuple or other collection of instances of a class."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
            value = next((entry for entry in value if not isinstance(entry, kind)), None)
            if value is None:
                return
        way = _SOURCES.get(kind.__name__, "")
        raise InputError(f"{name} must be a list of {kind.__name__}, not {shown(value)}{'; ' + way if way else ''}.")

    return check
