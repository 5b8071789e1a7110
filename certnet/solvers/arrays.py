"""The arrays of one device in one precision, so that an algorithm is written once for the host and for a GPU.

numpy's arrays and PyTorch's tensors both understand ``+ - * /``, ``@``, ``.T``, slices and assignment to slices. What
they spell differently stands here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.runtime.machine import gpu
from certnet.solvers.linear_algebra import positive_eigenpairs
from formulations.errors import InputError

Array = Any
"""A numpy array or a tensor, of the precision and on the device of the ``Arrays`` that made it."""

DEVICES = ("cpu", "cuda")
PARTIAL_SHARE = 0.12
PARTIAL_SHARE_SINGLE = 0.25
"""Rank, as a share of the order, up to which the positive eigenpairs alone are cheaper than all of them, in float64 and
float32. Measured: tests/benchmarks/projection.py."""


class Arrays:
    """Operations on the arrays of one device of PyTorch, or of numpy for None, in float64 or ``single`` precision.

    No call holds the interpreter's lock for long.
    """

    def __init__(self, device: str | None = None, *, single: bool = False) -> None:
        self.xp: Any = np
        if device is not None:
            import torch

            self.xp = torch
        self.device, self.single = device, single
        self.dtype = self.xp.float32 if single else self.xp.float64

    def with_precision(self, *, single: bool) -> "Arrays":
        """The same device in float32 or float64."""
        return Arrays(self.device, single=single)

    def empty(self, *shape: int) -> Array:
        """An array with any content; InputError where the device has too little memory."""
        if self.device is None:
            return np.empty(shape, dtype=self.dtype)
        try:
            return self.xp.empty(shape, dtype=self.dtype, device=self.device)
        except self.xp.cuda.OutOfMemoryError:
            raise InputError(f"the program does not fit into the memory of '{self.device}'; choose cpu.") from None

    def zeros(self, *shape: int) -> Array:
        """An array of zeros."""
        out = self.empty(*shape)
        out[...] = 0.0
        return out

    def array(self, host: NDArray[Any]) -> Array:
        """A copy of a host array on the device, in this precision; of integers for indexing, as they are."""
        real = np.float32 if self.single else np.float64
        copy = np.array(host, dtype=host.dtype if host.dtype.kind == "i" else real, order="C")
        return copy if self.device is None else self.xp.from_numpy(copy).to(self.device)

    def cast(self, a: Array) -> Array:
        """A device array of any precision in this one; not a copy if it already has it."""
        return self.xp.asarray(a, dtype=self.dtype)

    def host(self, a: Array) -> NDArray[Any]:
        """A copy of a device array on the host, in its own precision."""
        return np.array(a if self.device is None else a.cpu().numpy())

    def copy(self, a: Array) -> Array:
        """A copy that may be changed."""
        return a.copy() if self.device is None else a.clone()

    def positive_part(self, a: Array) -> None:
        """Replace a by max(a, 0)."""
        self.xp.clip(a, 0.0, None, out=a)

    def diagonal(self, a: Array) -> Array:
        """The diagonal of a matrix as a view that can be assigned to."""
        return np.einsum("ii->i", a) if self.device is None else a.diagonal()

    def dot(self, a: Array, b: Array) -> float:
        """The sum of a∘b."""
        return float(np.vdot(a, b) if self.device is None else (a * b).sum(dtype=self.xp.float64))

    def square(self, a: Array) -> float:
        """The sum of squares."""
        return self.dot(a, a)

    def positive_factor(self, a: Array, expected: int) -> Array:
        """F (n×r) with ``F Fᵀ`` the positive semidefinite matrix nearest to a symmetric one.

        Args:
            a: (n, n), its upper triangle is read; destroyed.
            expected: a guess of the rank r, which decides how the result is computed and not what it is.

        Raises:
            ArithmeticError, ValueError, RuntimeError: an entry is not finite, or the eigenvalues did not converge.
        """
        share = PARTIAL_SHARE_SINGLE if self.single else PARTIAL_SHARE
        if self.device is None and expected <= share * len(a):
            values, vectors = positive_eigenpairs(np.ascontiguousarray(a))
        else:
            values, vectors = self.xp.linalg.eigh(a, UPLO="U")
        # LAPACK may return NaN for NaN without saying so.
        if not bool(self.xp.isfinite(values).all()):
            raise np.linalg.LinAlgError("an eigenvalue is not finite")
        positive = values > 0
        return vectors[:, positive] * values[positive] ** 0.5


def require_device(device: str) -> None:
    """InputError, before any work, for an unknown device, without a GPU or without PyTorch that can use it."""
    if device not in DEVICES:
        raise InputError(f"The device must be one of {', '.join(DEVICES)}, not {device!r}.")
    if device == "cpu":
        return
    found = gpu()
    if not found["devices"]:
        raise InputError("The device cuda needs an NVIDIA GPU, and this machine shows none; use the device cpu.")
    if found["torch"] is None:
        raise InputError("The device cuda needs PyTorch, which is not installed: pip install certnet[gpu].")
    if not found["torch_cuda"]:
        raise InputError(
            f"PyTorch {found['torch']} cannot use this machine's GPU; install its CUDA build, or use the device cpu."
        )


def arrays(device: str) -> Arrays:
    """The arrays of a device that ``require_device`` takes, in float64: "cpu" for numpy, "cuda" for the current GPU."""
    require_device(device)
    return Arrays(None if device == "cpu" else device)
