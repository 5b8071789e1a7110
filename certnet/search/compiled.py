"""The compiled kernel, where numba is installed."""

import logging
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

from certnet.search import cone_kernel as kernel

logging.getLogger("numba").setLevel(logging.WARNING)


@lru_cache(maxsize=1)
def fast_explore() -> Callable[..., Any]:
    """``kernel.explore``, compiled on its first call, which takes seconds the first time and is then kept on disk.

    It holds no lock while it runs, so threads may run it side by side. Without numba it is the plain function, which
    does the same at a hundredth of the speed.
    """
    try:
        from numba import njit
    except ImportError:
        return kernel.explore
    try:
        return _compile(njit(nogil=True, error_model="numpy", cache=True))
    except RuntimeError:
        # There is no folder to keep compiled code in.
        return _compile(njit(nogil=True, error_model="numpy"))


def is_compiled() -> bool:
    """True once this process has asked for the compiled kernel."""
    return fast_explore.cache_info().currsize > 0


def _compile(jit: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel over compiled helpers; the functions of the module stay as they are."""
    names = dict(vars(kernel))
    for function in (*kernel.HELPERS, kernel.explore):
        copy = FunctionType(function.__code__, names, function.__name__)
        copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
        names[function.__name__] = jit(copy)
    compiled: Callable[..., Any] = names["explore"]
    return compiled
