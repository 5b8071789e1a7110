"""What is asked of networks, as cases and as networks to ask: that a class is kept, and how far two networks differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from formulations._validation import FloatArray, shown
from formulations.arguments import accepts, count
from formulations.errors import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase, region_maker

__all__ = ["keeps_class", "side_by_side"]


def _labels(name: str, value: Any) -> None:
    """Require the number of an output, or several."""
    numbers = value if isinstance(value, list | tuple) and value else [value]
    for number in numbers:
        count(name, number)


@accepts(network=ReluNetwork, region=InputRegion, label=_labels)
def keeps_class(network: ReluNetwork, region: InputRegion, label: int | Sequence[int]) -> tuple[UnsafeCase, ...]:
    """The cases in which some other output is at least as large as output ``label``.

    Of several labels, which then count as one class, it is at least as large as each of them.

    Raises:
        InputError: an output that does not exist.
    """
    c = network.outputs
    chosen = list(dict.fromkeys(label if isinstance(label, Sequence) else [label]))
    wrong = [one for one in chosen if one >= c]
    if wrong:
        raise InputError(f"the network has outputs 0 to {c - 1}, and there is no output {wrong[0]}.")
    unit = np.eye(c)
    others = [k for k in range(c) if k not in chosen]
    return tuple(UnsafeCase(region, unit[chosen] - unit[k], np.zeros(len(chosen))) for k in others)


def around(x: FloatArray, radius: float, norm: str, moving: Sequence[int] | None = None) -> InputRegion:
    """The inputs within a radius of x in a norm, "linf" or "l2"; of ``moving`` inputs alone, if they are given.

    Raises:
        InputError: another norm, or an input that does not exist.
    """
    region = region_maker(norm)(x, radius)
    if moving is None:
        return region
    still = np.ones(region.inputs, dtype=bool)
    if not all(0 <= j < region.inputs for j in moving):
        raise InputError(f"there are inputs 0 to {region.inputs - 1}, and not all of {shown(tuple(moving))}.")
    still[list(moving)] = False
    lower, upper = (np.where(still, x, side) for side in (region.lower, region.upper))
    inner = region.inner and (np.where(still, x, region.inner[0]), np.where(still, x, region.inner[1]))
    return replace(region, lower=lower, upper=upper, inner=inner)


@accepts(first=ReluNetwork, second=ReluNetwork)
def side_by_side(first: ReluNetwork, second: ReluNetwork) -> ReluNetwork:
    """x ↦ (f(x), g(x)), without rounding; neurons that both networks have are there once.

    Raises:
        InputError: other numbers of inputs.
    """
    if first.inputs != second.inputs:
        raise InputError(
            f"one network has {first.inputs} inputs and the other {second.inputs}; only networks of the same inputs "
            "can be compared."
        )
    places: list[list[int]] = []
    rows: dict[tuple[bytes, int], int] = {}
    for one in (first, second):
        # Equal neurons of one network stay apart: their output weights would have to be added, which rounds.
        seen: Counter[bytes] = Counter()
        places.append([])
        for row in one.generators:
            key = (row + 0.0).tobytes()
            places[-1].append(rows.setdefault((key, seen[key]), len(rows)))
            seen[key] += 1
    generators = np.zeros((len(rows), first.inputs + 1))
    output = np.zeros((first.outputs + second.outputs, len(rows)))
    for one, place, part in zip(
        (first, second), places, (slice(first.outputs), slice(first.outputs, None)), strict=True
    ):
        generators[place], output[part, place] = one.generators, one.output
    bias = np.concatenate([first.output_bias, second.output_bias])
    return ReluNetwork(generators[:, :-1], generators[:, -1], output, bias)
