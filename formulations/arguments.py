"""Public functions refuse arguments of a wrong type in one sentence that names the right call."""

import functools
import inspect
import json
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from formulations._validation import as_array, real_number, shown
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

    Raises:
        InputError: when the decorated function is called with such an argument.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
        call = ", ".join(name for name, default in defaults.items() if default is inspect.Parameter.empty)
        call = f"certnet.{function.__name__}({call})"

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for name, value in signature.bind(*args, **kwargs).arguments.items():
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
        raise InputError(f"{name} must be {_article(wanted)}, not {shown(value)}; {_way(value, wanted)}call {call}.")


def _article(wanted: list[str]) -> str:
    return " or ".join(f"{'an' if name[0] in 'AEIOU' else 'a'} {name}" for name in wanted)


def _way(value: Any, wanted: list[str]) -> str:
    """How to come from this value to one of the wanted classes, where there is a way."""
    homes = {base.__module__.split(".")[0] for base in type(value).__mro__}
    if "ReluNetwork" in wanted:
        for home, way in _CONVERSIONS:
            if home in homes:
                return f"{way}, then "
    return next((f"{_SOURCES[name]}; " for name in wanted if name in _SOURCES), "")


def seconds(name: str, value: Any) -> None:
    """Require a finite number of seconds, at least 0, or None for no limit."""
    number = 0.0 if value is None else real_number(value)
    if number is None or not (0 <= number < math.inf):
        raise InputError(f"{name} must be a number of seconds, or None for no limit, not {shown(value)}.")


def real(name: str, value: Any) -> None:
    """Require a finite number."""
    number = real_number(value)
    if number is None or not abs(number) < math.inf:
        raise InputError(f"{name} must be a finite number, not {shown(value)}.")


def reals(name: str, value: Any) -> None:
    """Require a vector of real numbers."""
    if as_array(name, value).ndim != 1:
        raise InputError(f"{name} must be a list of numbers, not {shown(value)}.")


def array(name: str, value: Any) -> None:
    """Require what becomes an array of real numbers with at least one dimension."""
    if as_array(name, value).ndim == 0:
        raise InputError(f"{name} must be an array, not {shown(value)}.")


def count(name: str, value: Any) -> None:
    """Require a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not int(value) >= 0:
        raise InputError(f"{name} must be a whole number of 0 or more, not {shown(value)}.")


def location(name: str, value: Any) -> None:
    """Require the path of a file."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} must be the path of a file, not {shown(value)}.")


def json_object(name: str, value: Any) -> None:
    """Require a mapping that JSON can hold."""
    try:
        if isinstance(value, Mapping):
            json.dumps(dict(value), sort_keys=True, allow_nan=False)
            return
    except (TypeError, ValueError, RecursionError):
        pass
    raise InputError(f"{name} must be a dictionary that JSON can hold, not {shown(value)}.")


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
