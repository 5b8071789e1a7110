"""How far the outputs of two networks are apart: questions about the network that has the outputs of both."""

from typing import Any

import numpy as np

from certnet.io.folding import stacked
from certnet.jobs.output_range import OutputRange, output_range
from certnet.jobs.verify import VerificationResult, verify
from certnet.runtime.public import public
from formulations import InputError
from formulations._validation import FloatArray, as_positive
from formulations.arguments import real
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

__all__ = ["difference_range", "equivalence"]


@public(epsilon=real)
def equivalence(
    first: ReluNetwork, second: ReluNetwork, region: InputRegion, epsilon: float, **options: Any
) -> VerificationResult:
    """Decide whether each output of two networks differs by less than epsilon all over a region.

    The certificate is about the network x ↦ (first(x), second(x)).

    Args:
        first, second: of as many inputs and outputs.
        region: a box, a ball or both.
        epsilon: positive, in units of the outputs.
        options: as for ``verify``.

    Raises:
        InputError: networks that cannot be compared, a region of another size, or an epsilon that is not positive.
    """
    as_positive("epsilon", epsilon)
    both, rows = _stacked(first, second)
    h = np.array([epsilon])
    return verify(both, [UnsafeCase(region, sign * row[None], h) for row in rows for sign in (-1.0, 1.0)], **options)


@public()
def difference_range(first: ReluNetwork, second: ReluNetwork, region: InputRegion, **options: Any) -> OutputRange:
    """Bound ``first(x) − second(x)`` over a region, each output from both sides.

    Args:
        first, second, region: as for ``equivalence``, with its errors.
        options: as for ``output_range``.
    """
    both, rows = _stacked(first, second)
    return output_range(both, region, rows, **options)


def _stacked(first: ReluNetwork, second: ReluNetwork) -> tuple[ReluNetwork, FloatArray]:
    """x ↦ (first(x), second(x)), and (c, 2c) rows over its outputs: the differences."""
    for name, one, other in (("input", first.inputs, second.inputs), ("output", first.outputs, second.outputs)):
        if one != other:
            raise InputError(
                f"one network has {one} {name}s and the other {other}; only networks of as many can be compared."
            )
    unit = np.eye(first.outputs)
    return stacked([first, second]), np.hstack([unit, -unit])
