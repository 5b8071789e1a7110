"""Functions that users call: arguments are looked at first, and NumPy is silent about what is not finite."""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import TypeVar, get_args

import numpy as np

from formulations.arguments import Kind, accepts, count, json_object, positive_count, seconds

Function = TypeVar("Function", bound=Callable[..., object])

NAMED: dict[str, Kind] = {
    "time_limit": seconds,
    "random_state": count,
    "threads": positive_count,
    "provenance": json_object,
}
"""What arguments of these names have to be."""
OURS = ("certnet", "certificates", "formulations")


def public(**kinds: Kind) -> Callable[[Function], Function]:
    """``accepts``, which knows of itself the arguments of ``NAMED`` and those that are annotated with a class of ours.

    Args:
        kinds: of other arguments, or instead.
    """

    def decorate(function: Function) -> Function:
        known = {name: kind for name, one in inspect.signature(function).parameters.items() if (kind := _kind(one))}
        return np.errstate(all="ignore")(accepts(**known | kinds)(function))

    return decorate


def _kind(parameter: inspect.Parameter) -> Kind | None:
    annotation = parameter.annotation
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    classes = tuple(one for one in parts if one is not NoneType)
    ours = all(isinstance(one, type) and one.__module__.partition(".")[0] in OURS for one in classes)
    return NAMED.get(parameter.name, classes if ours and classes else None)
