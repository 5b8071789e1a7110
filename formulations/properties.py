"""What is asked of rows: that their class is kept, by some inputs near them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from formulations._validation import FloatArray
from formulations.arguments import accepts, count
from formulations.errors import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase, region_maker

__all__ = ["keeps_class"]


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

    InputError where there is no such norm or input.
    """
    region = region_maker(norm)(x, radius)
    if moving is None:
        return region
    if not all(0 <= j < region.inputs for j in moving):
        raise InputError(
            f"there are inputs 0 to {region.inputs - 1}, and not all of {', '.join(map(str, moving))[:40]}."
        )
    still = ~np.isin(np.arange(region.inputs), list(moving))
    lower, upper = (np.where(still, x, side) for side in (region.lower, region.upper))
    inner = region.inner and (np.where(still, x, region.inner[0]), np.where(still, x, region.inner[1]))
    return replace(region, lower=lower, upper=upper, inner=inner)
