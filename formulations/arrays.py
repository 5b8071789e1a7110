"""The two types of arrays."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def frozen(array: NDArray[np.generic]) -> None:
    """Make an array that is shared between results read-only."""
    array.setflags(write=False)
