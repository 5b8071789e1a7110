"""What a certificate file of each kind holds, as data, and how objects become named arrays and back.

Specified in docs/certificate-format.md; ``certificates.container`` reads and writes the files.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from certificates.certificate import CaseProof, Lipschitz, LipschitzProof, Robustness, Training, TrainingProof
from certificates.proof import Circuits, LiftedProof, Triangles
from certificates.subdivision import Subdivision
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

MAX_CASES = 200
"""Cases that the manifest has room for."""
Array = tuple[str, int]
"""Type and number of dimensions of an array; without dimensions it is one number."""


@dataclass(frozen=True)
class Layout:
    """An object in a file: what makes it of its parts by name."""

    make: Callable[..., Any]
    parts: Mapping[str, "Array | Layout | OneOf | Each"]


@dataclass(frozen=True)
class OneOf:
    """A part that is laid out in one of several ways, told apart by the name of their first array, or missing."""

    options: tuple[Array | Layout, ...]
    optional: bool = False


@dataclass(frozen=True)
class Each:
    """As many parts as the certificate has proofs, named 0, 1, …"""

    each: Layout


Part = Array | Layout | OneOf | Each


def _arrays(text: str) -> dict[str, Part]:
    """Arrays by name, as in "X f2": float64 (f) or int64 (i), and the number of dimensions."""
    pairs = (entry.split() for entry in text.split(","))
    return {name: (f"<{kind[0]}8", int(kind[1])) for name, kind in pairs}


CIRCUITS = Layout(Circuits, _arrays("target i1, offset i1, support i1"))
TRIANGLES = Layout(Triangles, _arrays("neuron i1, bounds f2"))
TREE = "split i1, children i2, leaf i1, pair_offset i1, pairs i2, multipliers f1, complementarity f2, sigma f2"
LIFTED = Layout(
    LiftedProof,
    _arrays(f"{TREE}, groups i1") | {"circuits": CIRCUITS, "triangles": TRIANGLES},
)
SUBDIVISION = Layout(Subdivision, _arrays("basis f2, codes i1, positions f1, sigma f1"))
NETWORK = Layout(ReluNetwork, _arrays("hidden f2, hidden_bias f1, output f2, output_bias f1"))
BALL = {name: OneOf((kind,), optional=True) for name, kind in (("centre", ("<f8", 1)), ("radius", ("<f8", 0)))}
REGION = Layout(InputRegion, {**_arrays("lower f1, upper f1"), **BALL})
CASE = Layout(UnsafeCase, {"region": REGION, **_arrays("H f2, h f1")})
ROUNDING = {"rounding": OneOf((("<f8", 1),), optional=True)}
CASE_PROOF = Layout(CaseProof, {**_arrays("stable i1, mu f2, margin f0"), **ROUNDING, "proof": LIFTED})


@dataclass(frozen=True)
class Kind:
    """What a file of a kind holds.

    Attributes:
        statement, proof: arrays of the statement, and of each proof.
        claims: names of the numbers that are claimed.
        scalars: what the manifest holds of the statement, with the type of each or the pattern of a text.
        most: largest number of proofs.
    """

    statement: Layout
    proof: Layout
    claims: tuple[str, ...] = ()
    scalars: Mapping[str, type | re.Pattern[str]] = field(default_factory=dict)
    most: int = 1


KINDS = {
    "training": Kind(
        Layout(Training, _arrays("X f2, Y f2, sample_weight f1")),
        Layout(
            TrainingProof,
            _arrays("W f2, source i1, generator i1, U f2, V f2, output f1, ball f1")
            | {"proof": OneOf((LIFTED, SUBDIVISION))},
        ),
        claims=("lower_bound", "objective"),
        scalars={
            "gamma": float,
            **dict.fromkeys(("hidden_bias", "output_bias", "loss"), str),
            "data_fingerprint": re.compile("[0-9a-f]{64}"),
        },
    ),
    "robustness": Kind(
        Layout(Robustness, {"network": NETWORK, "cases": Each(CASE)}),
        CASE_PROOF,
        scalars={"semantics": str},
        most=MAX_CASES,
    ),
    "lipschitz": Kind(
        Layout(Lipschitz, {"network": NETWORK, "region": OneOf((REGION,), optional=True), **_arrays("C f2")}),
        Layout(LipschitzProof, {"proof": LIFTED, **_arrays("stable i1, halfspace f1")}),
        claims=("constant",),
    ),
}
"""The kinds of certificates by the name in the manifest."""


def members(part: Part, value: Any, path: str) -> Iterator[tuple[str, Array, Any]]:
    """(name, type, value) of every array of an object; ``made_of`` is the inverse."""
    if isinstance(part, Each):
        for i, one in enumerate(value):
            yield from members(part.each, one, f"{path}/{i}")
    elif isinstance(part, OneOf):
        if value is not None:
            options = (option for option in part.options if isinstance(option, tuple) or type(value) is option.make)
            yield from members(next(options), value, path)
    elif isinstance(part, Layout):
        for name, inner in part.parts.items():
            yield from members(inner, getattr(value, name), f"{path}/{name}")
    else:
        yield path, part, value


def made_of(part: Part, path: str, take: Callable[[str, Array], Any], named: Collection[str], count: int = 0) -> Any:
    """The object whose arrays ``take`` finds, of those ``named``; ``count`` is the length of every ``Each``."""
    if isinstance(part, Each):
        return tuple(made_of(part.each, f"{path}/{i}", take, named) for i in range(count))
    if isinstance(part, OneOf):
        there = [option for option in part.options if _first(option, path) in named]
        return None if part.optional and not there else made_of([*there, part.options[0]][0], path, take, named)
    if isinstance(part, Layout):
        inner = {name: made_of(inner, f"{path}/{name}", take, named, count) for name, inner in part.parts.items()}
        return part.make(**inner)
    return take(path, part)


def _first(part: Any, path: str) -> str:
    """The name of the first array of a part."""
    while isinstance(part, Layout):
        name, part = next(iter(part.parts.items()))
        path = f"{path}/{name}"
    return path
