"""Functions that users call: arguments are looked at first, and NumPy is silent about what is not finite."""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

import numpy as np

from formulations import arguments
from formulations.arguments import Kind, accepts

Function = TypeVar("Function", bound=Callable[..., object])

NAMED: dict[str, Kind] = {
    "time_limit": arguments.seconds,
    "random_state": arguments.count,
    "threads": arguments.positive_count,
    "provenance": arguments.json_object,
}
"""What arguments of these names have to be."""
ANNOTATED: dict[Any, Kind] = {
    float: arguments.number,
    int: arguments.integer,
    str: arguments.text,
    Callable: arguments.function,
    Mapping: Mapping,
}
"""What others have to be that are annotated so."""
OURS = ("certnet", "certificates", "formulations")


def public(**kinds: Kind) -> Callable[[Function], Function]:
    """``accepts``, which knows arguments named in ``NAMED``, and others by ``ANNOTATED`` or as classes of ours."""

    def decorate(function: Function) -> Function:
        known = {name: kind for name, one in inspect.signature(function).parameters.items() if (kind := _kind(one))}
        return np.errstate(all="ignore")(accepts(**known | kinds)(function))

    return decorate


def _kind(parameter: inspect.Parameter) -> Kind | None:
    annotation = parameter.annotation
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    classes = tuple(one for one in parts if one is not NoneType)
    ours = all(isinstance(one, type) and one.__module__.partition(".")[0] in OURS for one in classes)
    known: Kind | None = classes if ours and classes else None
    if len(classes) == 1:
        known = ANNOTATED.get(get_origin(classes[0]) or classes[0], known)
    return NAMED.get(parameter.name, known)
