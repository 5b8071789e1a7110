"""Steps inside the cones, linear systems, and long calls into LAPACK that let other threads run meanwhile.

SciPy's own wrappers hold the lock of the interpreter until LAPACK returns, which may take minutes: then no deadline and
no Ctrl-C is heard. The same routines are called here through the pointers that SciPy exports for other languages.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cython_lapack

from formulations._validation import FloatArray

LARGEST = 1e300
"""Stands for infinity, which not every LAPACK takes as a bound; in float32 the largest number does."""


@cache
def _routine(name: str) -> Callable[..., None]:
    """A routine of LAPACK, which takes all arguments by reference. ``ctypes`` gives the lock away while it runs."""
    capsule = cython_lapack.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    pointer = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    function: Callable[..., None] = ctypes.CFUNCTYPE(None)(pointer)
    return function


def _call(name: str, *arguments: Any) -> int:
    """Call with letters, integers, numbers of one element and arrays; the last argument of LAPACK, info, is added."""
    info = ctypes.c_int(0)
    kinds: dict[type, Callable[[Any], Any]] = {str: lambda letter: ctypes.c_char(letter.encode()), int: ctypes.c_int}
    held = [kinds.get(type(argument), lambda same: same)(argument) for argument in (*arguments, info)]
    _routine(name)(*(item.ctypes if isinstance(item, np.ndarray) else ctypes.byref(item) for item in held))
    return info.value


def positive_eigenpairs(a: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positive eigenvalues (r,), ascending, and eigenvectors (n×r) of a symmetric matrix.

    Args:
        a: (n, n) float32 or float64, contiguous by rows; its upper triangle is read, and all of it destroyed.

    Raises:
        numpy.linalg.LinAlgError: no convergence, or an entry that is not finite.
    """
    n, real = len(a), a.dtype
    # One pass over all of it, unless what is not read holds anything else.
    if not (np.isfinite(a).all() or np.isfinite(np.triu(a)).all()):
        raise np.linalg.LinAlgError("an entry is not finite")
    if n == 0:
        return np.zeros(0, dtype=real), np.zeros((0, 0), dtype=real)
    values, vectors = np.empty(n, dtype=real), np.empty((n, n), dtype=real)
    support, found = np.empty(2 * n, dtype=np.int32), ctypes.c_int(0)
    largest = min(LARGEST, float(np.finfo(real).max))
    low, high, tolerance = (np.array([bound], dtype=real) for bound in (0.0, largest, 0.0))

    def run(work: NDArray[Any], size: int, integers: NDArray[np.int32], count: int) -> None:
        # By columns, the upper triangle of rows is the lower one; the rows of ``vectors`` are LAPACK's columns.
        info = _call(
            "ssyevr" if real == np.float32 else "dsyevr",
            *("V", "V", "L", n, a, n, low, high, 0, 0, tolerance, found, values, vectors, n, support),
            *(work, size, integers, count),
        )
        if info != 0:
            raise np.linalg.LinAlgError(f"the eigenvalues did not converge (info {info})")

    work, integers = np.empty(1, dtype=real), np.empty(1, dtype=np.int32)
    run(work, -1, integers, -1)
    size, count = int(work[0]), int(integers[0])
    run(np.empty(size, dtype=real), size, np.empty(count, dtype=np.int32), count)
    return values[: found.value], vectors[: found.value].T


def factor_in_place(a: NDArray[np.float64]) -> None:
    """Overwrite the lower triangle of ``a`` (n×n, contiguous by rows) with L of ``a = LLᵀ``, of which it is read.

    Raises:
        numpy.linalg.LinAlgError: it is not positive definite.
    """
    if len(a) and _call("dpotrf", "U", len(a), a, len(a)) != 0:
        raise np.linalg.LinAlgError("the matrix is not positive definite")


def solve_factored(factor: NDArray[Any], columns: FloatArray, *, transposed: bool) -> FloatArray:
    """``L⁻¹B``, or with ``transposed`` ``L⁻ᵀB``, for L in the lower triangle of ``factor`` (contiguous by rows) and B
    (n, or n×m)."""
    solution = np.array(columns, order="F")
    if columns.size:
        count = 1 if columns.ndim == 1 else columns.shape[1]
        size = len(factor)
        _call("dtrtrs", "U", "N" if transposed else "T", "N", size, count, factor, size, solution, size)
    return solution


def symmetric(A: FloatArray) -> FloatArray:
    """(A + Aᵀ)/2."""
    half: FloatArray = 0.5 * (A + A.T)
    return half


def is_positive_definite(A: FloatArray) -> bool:
    """True when Cholesky's factorisation of A runs through."""
    try:
        return bool(np.isfinite(np.linalg.cholesky(A)).all())
    except np.linalg.LinAlgError:
        return False


def longest_step(X: FloatArray, direction: FloatArray) -> float:
    """Largest a with ``X + a·direction ⪰ 0`` for X ≻ 0; LinAlgError where rounding has left no numbers."""
    L = np.linalg.cholesky(X)
    half = solve_factored(L, direction, transposed=False)
    inner = solve_factored(L, half.T, transposed=False)
    if not np.isfinite(inner).all():
        raise np.linalg.LinAlgError("an entry is not finite")
    least = float(np.linalg.eigvalsh(symmetric(inner))[0])
    return np.inf if least >= 0 else -1.0 / least


def longest_positive_step(x: FloatArray, direction: FloatArray) -> float:
    """Largest a with ``x + a·direction ≥ 0`` for x > 0."""
    down = direction < 0
    with np.errstate(over="ignore"):
        return float(np.min(-x[down] / direction[down])) if down.any() else np.inf
