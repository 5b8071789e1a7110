"""A trained two-layer ReLU network: what a user keeps, predicts with, and stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from certificates.files import write_atomically
from certnet.io.packed import npz_arrays
from formulations._validation import FloatArray, IntArray, as_array, as_matrix, frozen
from formulations.errors import InputError

__all__ = ["TwoLayerNetwork"]

FORMAT = "certnet-network"
VERSION = 1
LARGEST_FILE = 2**31
_MEMBERS = ("U", "V", "hidden_bias", "offset", "scale")


@dataclass(frozen=True, eq=False)
class TwoLayerNetwork:
    """x ↦ V (Uᵀz + b)₊ with z = (x − offset)/scale entrywise.

    Attributes:
        U: hidden weights, d×m; column j belongs to neuron j. m = 0 is the network that is constantly zero.
        V: output weights, c×m.
        hidden_bias: (m,) hidden biases b, or None for none.
        offset: (d,) subtracted from every data row first, or None.
        scale: (d,) positive divisors applied after the offset, or None.
        classes: c names, in the order of the outputs, or None.

    Raises:
        InputError: shapes that disagree, entries that are not finite, a scale that is not positive, or
            repeated class names.
    """

    U: FloatArray
    V: FloatArray
    hidden_bias: FloatArray | None = None
    offset: FloatArray | None = None
    scale: FloatArray | None = None
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        U, V = _weights("U", self.U), _weights("V", self.V)
        if U.shape[1] != V.shape[1]:
            raise InputError(f"U has {U.shape[1]} neurons but V has {V.shape[1]}; both need one column per neuron.")
        if U.shape[0] == 0 or V.shape[0] == 0:
            raise InputError("a network needs at least one input and one output.")
        object.__setattr__(self, "U", U)
        object.__setattr__(self, "V", V)
        for name, length in (("hidden_bias", U.shape[1]), ("offset", U.shape[0]), ("scale", U.shape[0])):
            object.__setattr__(self, name, _vector(name, getattr(self, name), length))
        if self.scale is not None and not (self.scale > 0).all():
            raise InputError("scale must be positive in every entry; use 1 for a feature that is not scaled.")
        if self.classes is not None:
            classes = tuple(str(name) for name in self.classes)
            if len(classes) != V.shape[0] or len(set(classes)) != len(classes):
                raise InputError(f"classes must hold {V.shape[0]} different names, one for each output.")
            object.__setattr__(self, "classes", classes)

    @property
    def width(self) -> int:
        """m, the number of hidden neurons."""
        return int(self.U.shape[1])

    @classmethod
    def from_program(
        cls,
        U: ArrayLike,
        V: ArrayLike,
        *,
        bias: bool = False,
        offset: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        classes: Sequence[str] | None = None,
    ) -> "TwoLayerNetwork":
        """The network of a training program's U (d×m) and V (c×m); with ``bias`` the last row of U is the bias."""
        hidden = _weights("U", U)
        hidden_bias = None
        if bias:
            if hidden.shape[0] < 2:
                raise InputError("U needs a row for each feature and one for the bias; pass bias=False if it has none.")
            hidden, hidden_bias = hidden[:-1], hidden[-1]
        return cls(
            U=hidden,
            V=_weights("V", V),
            hidden_bias=hidden_bias,
            offset=None if offset is None else np.asarray(offset),
            scale=None if scale is None else np.asarray(scale),
            classes=classes,
        )

    def hidden(self, X: ArrayLike) -> FloatArray:
        """Activations of the hidden layer, n×m, for raw data X (n×d)."""
        data = as_matrix("X", X, columns=self.U.shape[0])
        if self.offset is not None:
            data = data - self.offset
        if self.scale is not None:
            data = data / self.scale
        product = data @ self.U
        if self.hidden_bias is not None:
            product = product + self.hidden_bias
        activations: FloatArray = np.maximum(product, 0.0)
        return activations

    def predict(self, X: ArrayLike) -> FloatArray:
        """Scores, n×c, for raw data X (n×d).

        Raises:
            InputError: X is not a finite matrix with d columns.
        """
        scores: FloatArray = self.hidden(X) @ self.V.T
        return scores

    def predict_class(self, X: ArrayLike) -> NDArray[np.str_] | IntArray:
        """The class with the largest score, (n,); names if the network has ``classes``, else positions.

        Ties go to the class that comes first.
        """
        winner: IntArray = np.argmax(self.predict(X), axis=1).astype(np.int64)
        return winner if self.classes is None else np.array(self.classes)[winner]

    def save(self, path: str | Path) -> None:
        """Write an .npz file. It appears under its name only when complete; an old file stays until then.

        Raises:
            InputError: the file cannot be written there.
        """
        arrays: dict[str, Any] = {"format": np.array(FORMAT), "version": np.array(VERSION)}
        arrays.update({name: getattr(self, name) for name in _MEMBERS if getattr(self, name) is not None})
        if self.classes is not None:
            arrays["classes"] = np.array(self.classes, dtype=np.str_)
        try:
            write_atomically(path, lambda stream: np.savez(stream, **arrays))
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place.") from None

    @classmethod
    def load(cls, path: str | Path) -> "TwoLayerNetwork":
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            InputError: the file is missing, damaged, not a network, or holds numbers that are not finite.
        """
        source = Path(path)
        arrays = _read(source)
        label = arrays.get("format")
        if label is None or label.dtype.kind != "U" or label.shape != () or str(label) != FORMAT:
            raise InputError(f"{source} is not a certnet network; pass a file that TwoLayerNetwork.save wrote.")
        version = arrays.get("version")
        if version is None or version.dtype.kind not in "iu" or version.shape != () or int(version) != VERSION:
            raise InputError(f"{source} has a file version that this certnet cannot read; update certnet.")
        if "U" not in arrays or "V" not in arrays:
            raise InputError(f"{source} holds no weights U and V; save the network again.")
        names = arrays.get("classes")
        if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
            raise InputError(f"{source} holds class names that are not text; save the network again.")
        try:
            return cls(
                U=_weights("U", arrays["U"]),
                V=_weights("V", arrays["V"]),
                hidden_bias=_vector("hidden_bias", arrays.get("hidden_bias")),
                offset=_vector("offset", arrays.get("offset")),
                scale=_vector("scale", arrays.get("scale")),
                classes=None if names is None else [str(name) for name in names],
            )
        except InputError as error:
            raise InputError(f"{source} holds a network that cannot be used: {error}") from None


def _read(source: Path) -> dict[str, NDArray[np.generic]]:
    """All known arrays of an .npz file, without unpickling anything."""
    damaged = f"{source} is damaged or not an .npz file; pass a file that TwoLayerNetwork.save wrote."
    known = {"format", "version", "classes", *_MEMBERS}
    try:
        return npz_arrays(source, damaged, wanted=known.__contains__, largest=LARGEST_FILE)[1]
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}; check the path.") from None


def _weights(name: str, value: ArrayLike) -> FloatArray:
    """A finite read-only matrix that may have no columns."""
    array = as_array(name, value)
    if array.ndim == 2 and array.shape[1] == 0:
        matrix: FloatArray = np.zeros(array.shape)
    else:
        matrix = as_matrix(name, array)
    frozen(matrix)
    return matrix


def _vector(name: str, value: ArrayLike | None, length: int | None = None) -> FloatArray | None:
    """A finite read-only vector of the given length, or None."""
    if value is None:
        return None
    array = as_array(name, value)
    if length is None:
        length = array.size
    if array.shape != (length,):
        raise InputError(f"{name} has shape {array.shape} where ({length},) is expected.")
    vector: FloatArray = np.array(array, dtype=np.float64)
    if not np.isfinite(vector).all():
        raise InputError(f"{name} has entries that are not finite; remove them first.")
    frozen(vector)
    return vector
