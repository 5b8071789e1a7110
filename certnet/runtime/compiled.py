"""Plain functions as numba compiles them."""

import logging
from collections.abc import Callable
from typing import Any

SUMS_IN_ANY_ORDER = frozenset({"reassoc", "nsz", "contract"})
"""What lets a processor add up several entries at once. NaN and infinity stay what they are.

numba's cache does not see a change of these options: delete ``__pycache__`` after one."""


def compile_with_numba(function: Callable[..., Any], *, sums_in_any_order: bool = False) -> Callable[..., Any]:
    """``function``, compiled on its first call with new types, which takes seconds the first time and is then kept on
    disk. It holds no lock while it runs, so threads may run it side by side.

    Raises:
        ImportError: numba is not here.
    """
    from numba import njit

    logging.getLogger("numba").setLevel(logging.WARNING)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if sums_in_any_order:
        options["fastmath"] = set(SUMS_IN_ANY_ORDER)
    compiled: Callable[..., Any]
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:
        # There is no folder to keep compiled code in.
        compiled = njit(**options)(function)
    return compiled
