"""A thin layer over the arrays of one device, so that an algorithm is written once for the host and for a GPU.

Both kinds of array understand ``+ - * /``, ``@``, ``.T``, slices and assignment to slices; the few operations that are
spelled differently are methods of ``Arrays``. Numbers are float64 or float32.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.solvers.linear_algebra import positive_eigenpairs
from formulations._validation import FloatArray
from formulations.errors import InputError

Array = Any
"""A numpy array or a tensor, of the precision and on the device of the ``Arrays`` that made it."""

BLOCK_ENTRIES = 1 << 16
"""Entries of a block of rows: a few blocks of this size fit a processor's own cache."""


class Arrays(ABC):
    """Operations on the arrays of one device in one precision.

    Attributes:
        single: True for float32, False for float64.
        partial: whether ``upper_part`` is cheaper than ``eigh`` when few eigenvalues are positive.
    """

    partial: bool

    def __init__(self, *, single: bool = False) -> None:
        self.single = single

    @abstractmethod
    def with_precision(self, *, single: bool) -> "Arrays":
        """The same device in float32 or float64."""

    @abstractmethod
    def empty(self, *shape: int) -> Array:
        """An array with any content."""

    @abstractmethod
    def array(self, host: NDArray[Any]) -> Array:
        """A copy of a host array on the device, in this precision."""

    @abstractmethod
    def index(self, host: NDArray[np.int64]) -> Array:
        """Positions, for indexing."""

    @abstractmethod
    def cast(self, a: Array) -> Array:
        """A device array of any precision in this one; not a copy if it already has it."""

    @abstractmethod
    def host(self, a: Array) -> NDArray[Any]:
        """A copy of a device array on the host, in its own precision."""

    @abstractmethod
    def copy(self, a: Array) -> Array:
        """A copy that may be changed."""

    @abstractmethod
    def positive_part(self, a: Array) -> None:
        """Replace a by max(a, 0)."""

    @abstractmethod
    def diagonal(self, a: Array) -> Array:
        """The diagonal of a matrix as a view that can be assigned to."""

    @abstractmethod
    def dot(self, a: Array, b: Array) -> float:
        """The sum of a∘b."""

    @abstractmethod
    def concatenate(self, parts: list[Array]) -> Array:
        """Stack matrices on top of each other."""

    @abstractmethod
    def eigh(self, a: Array) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors (columns) of the symmetric matrix whose upper triangle a holds; destroys a."""

    @abstractmethod
    def upper_part(self, a: Array) -> tuple[Array, Array]:
        """The positive eigenvalues with their eigenvectors; a as in ``eigh``."""

    @abstractmethod
    def blocks(self, rows: int, columns: int) -> list[slice]:
        """Blocks of rows in which to work through a matrix, so that temporary results stay in fast memory."""

    def zeros(self, *shape: int) -> Array:
        """An array of zeros."""
        out = self.empty(*shape)
        out[...] = 0.0
        return out

    def square(self, a: Array) -> float:
        """The sum of squares."""
        return self.dot(a, a)


class HostArrays(Arrays):
    """numpy arrays; no call holds the interpreter's lock for long."""

    partial = True

    @property
    def _dtype(self) -> Any:
        return np.float32 if self.single else np.float64

    def with_precision(self, *, single: bool) -> "HostArrays":
        """See ``Arrays``."""
        return HostArrays(single=single)

    def empty(self, *shape: int) -> Array:
        """See ``Arrays``."""
        return np.empty(shape, dtype=self._dtype)

    def array(self, host: NDArray[Any]) -> Array:
        """See ``Arrays``."""
        return np.array(host, dtype=self._dtype, order="C")

    def index(self, host: NDArray[np.int64]) -> Array:
        """See ``Arrays``."""
        return host

    def cast(self, a: Array) -> Array:
        """See ``Arrays``."""
        return np.asarray(a, dtype=self._dtype)

    def host(self, a: Array) -> NDArray[Any]:
        """See ``Arrays``."""
        return np.array(a)

    def copy(self, a: Array) -> Array:
        """See ``Arrays``."""
        return a.copy()

    def positive_part(self, a: Array) -> None:
        """See ``Arrays``."""
        np.maximum(a, 0.0, out=a)

    def diagonal(self, a: Array) -> Array:
        """See ``Arrays``."""
        return np.einsum("ii->i", a)

    def dot(self, a: Array, b: Array) -> float:
        """See ``Arrays``."""
        return float(np.vdot(a, b))

    def concatenate(self, parts: list[Array]) -> Array:
        """See ``Arrays``."""
        return np.concatenate(parts)

    def eigh(self, a: Array) -> tuple[Array, Array]:
        """See ``Arrays``."""
        return _checked(*np.linalg.eigh(a, UPLO="U"))

    def upper_part(self, a: Array) -> tuple[Array, Array]:
        """See ``Arrays``."""
        return _checked(*positive_eigenpairs(np.ascontiguousarray(a)))

    def blocks(self, rows: int, columns: int) -> list[slice]:
        """See ``Arrays``."""
        size = max(1, BLOCK_ENTRIES // max(columns, 1))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _checked(values: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """LAPACK may return NaN for NaN without saying so."""
    if not np.isfinite(values).all():
        raise np.linalg.LinAlgError("an eigenvalue is not finite")
    return values, vectors


class TorchArrays(Arrays):
    """PyTorch tensors on any of its devices."""

    partial = False

    def __init__(self, device: str, *, single: bool = False) -> None:
        super().__init__(single=single)
        import torch

        self._torch = torch
        self._device = device
        self._dtype = torch.float32 if single else torch.float64

    def with_precision(self, *, single: bool) -> "TorchArrays":
        """See ``Arrays``."""
        return TorchArrays(self._device, single=single)

    def empty(self, *shape: int) -> Array:
        """See ``Arrays``.

        Raises:
            InputError: the device has too little memory.
        """
        try:
            return self._torch.empty(shape, dtype=self._dtype, device=self._device)
        except self._torch.cuda.OutOfMemoryError:
            raise InputError(f"the program does not fit into the memory of '{self._device}'; choose cpu.") from None

    def array(self, host: NDArray[Any]) -> Array:
        """See ``Arrays``."""
        return self._torch.tensor(np.ascontiguousarray(host), dtype=self._dtype, device=self._device)

    def index(self, host: NDArray[np.int64]) -> Array:
        """See ``Arrays``."""
        return self._torch.tensor(np.ascontiguousarray(host), device=self._device)

    def cast(self, a: Array) -> Array:
        """See ``Arrays``."""
        return a.to(self._dtype)

    def host(self, a: Array) -> NDArray[Any]:
        """See ``Arrays``."""
        out: NDArray[Any] = np.array(a.detach().cpu().numpy())
        return out

    def copy(self, a: Array) -> Array:
        """See ``Arrays``."""
        return a.clone()

    def positive_part(self, a: Array) -> None:
        """See ``Arrays``."""
        a.clamp_(min=0.0)

    def diagonal(self, a: Array) -> Array:
        """See ``Arrays``."""
        return a.diagonal()

    def dot(self, a: Array, b: Array) -> float:
        """See ``Arrays``."""
        return float((a * b).sum(dtype=self._torch.float64))

    def concatenate(self, parts: list[Array]) -> Array:
        """See ``Arrays``."""
        return self._torch.cat(parts)

    def eigh(self, a: Array) -> tuple[Array, Array]:
        """See ``Arrays``."""
        try:
            values, vectors = self._torch.linalg.eigh(a, UPLO="U")
        except RuntimeError as error:
            # torch's own LinAlgError is a RuntimeError; callers handle numpy's.
            raise np.linalg.LinAlgError(str(error)) from error
        if not bool(self._torch.isfinite(values).all()):
            raise np.linalg.LinAlgError("an eigenvalue is not finite")
        return values, vectors

    def upper_part(self, a: Array) -> tuple[Array, Array]:
        """See ``Arrays``."""
        values, vectors = self.eigh(a)
        positive = values > 0
        return values[positive], vectors[:, positive]

    def blocks(self, rows: int, columns: int) -> list[slice]:
        """See ``Arrays``; a GPU works best on the whole."""
        return [slice(0, rows)] if rows else []


def arrays(device: str) -> Arrays:
    """The arrays of a device by name, in float64.

    Args:
        device: "cpu" for numpy, "cuda" for PyTorch on the current NVIDIA (or ROCm) GPU.

    Raises:
        InputError: an unknown name, PyTorch missing, or no GPU that PyTorch can use.
    """
    if device == "cpu":
        return HostArrays()
    if device != "cuda":
        raise InputError(f"there is no device '{device}'; choose cpu or cuda.")
    try:
        import torch
    except ImportError:
        raise InputError(
            "the device 'cuda' needs PyTorch, which is not installed; run 'pip install certnet[gpu]' or choose cpu."
        ) from None
    if not torch.cuda.is_available():
        raise InputError("the device 'cuda' needs a GPU that PyTorch can use, and there is none; choose cpu.")
    return TorchArrays("cuda")
