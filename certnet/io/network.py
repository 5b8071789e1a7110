"""A two-layer ReLU network: what a user keeps, predicts with, and stores, and what files of other tools hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from certificates.files import write_atomically
from certnet.io.packed import Array, npz_arrays, unreadable
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_array, as_matrix
from formulations.network import ReluNetwork
from formulations.rounding import exact_array

__all__ = ["TwoLayerNetwork"]

FORMAT = "certnet-network"
VERSION = 1
LARGEST_FILE = 2**31
"""Bytes of a network's file."""
_MEMBERS = ("U", "V", "hidden_bias", "output_bias", "offset", "scale")
ROUNDED = (
    "The network's weights were computed from the numbers it was given with, such as a standardisation, in float64, "
    "which may round; everything is about the weights that came out, as a certificate holds them."
)
FOLDED = (
    "The network standardises features in its own way; that was folded into its hidden weights, and the weight decay "
    "is counted for these."
)


@dataclass(frozen=True, eq=False)
class TwoLayerNetwork:
    """x ↦ V (Uᵀz + b)₊ + b₂ with z = (x − offset)/scale entrywise.

    Attributes:
        U: hidden weights, d×m; column j belongs to neuron j. m = 0 is a constant network.
        V: output weights, c×m.
        hidden_bias: (m,) hidden biases b, or None for none.
        offset: (d,) subtracted from every data row first, or None.
        scale: (d,) positive divisors applied after the offset, or None.
        classes: c names, in the order of the outputs, or None.
        output_bias: (c,) output biases b₂, or None for none.
        rounded: whether these numbers were computed from those of a file and may have been rounded.

    Raises:
        InputError: shapes that disagree, entries that are not finite or no float64 numbers, a scale that is not
            positive, or repeated class names.
    """

    U: FloatArray
    V: FloatArray
    hidden_bias: FloatArray | None = None
    offset: FloatArray | None = None
    scale: FloatArray | None = None
    classes: Sequence[str] | None = None
    output_bias: FloatArray | None = None
    rounded: bool = False

    def __post_init__(self) -> None:
        for name in ("U", "V"):
            object.__setattr__(self, name, _weights(name, getattr(self, name)))
        (d, m), (c, n) = self.U.shape, self.V.shape
        if m != n:
            raise InputError(f"U has {m} neurons but V has {n}; both need one column per neuron.")
        if d == 0 or c == 0:
            raise InputError("a network needs at least one input and one output.")
        for name, length in {"hidden_bias": m, "output_bias": c, "offset": d, "scale": d}.items():
            value = getattr(self, name)
            vector = None if value is None else exact_array(name, value, 1)
            if vector is not None and len(vector) != length:
                raise InputError(f"{name} has shape {vector.shape} where ({length},) is expected.")
            object.__setattr__(self, name, vector)
        if self.scale is not None and not (self.scale > 0).all():
            raise InputError("scale must be positive in every entry; use 1 for a feature that is not scaled.")
        if self.classes is not None:
            classes = tuple(str(name) for name in self.classes)
            if len(classes) != c or len(set(classes)) != c:
                raise InputError(f"classes must hold {c} different names, one for each output.")
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
        hidden, hidden_bias = _weights("U", U), None
        if bias:
            if len(hidden) < 2:
                raise InputError("U needs a row for each feature and one for the bias; pass bias=False if it has none.")
            hidden, hidden_bias = hidden[:-1], hidden[-1]
        parts: dict[str, Any] = {"offset": offset, "scale": scale, "classes": classes}
        return cls(hidden, _weights("V", V), hidden_bias, **parts)

    def predict(self, X: ArrayLike) -> FloatArray:
        """Scores, n×c, for raw data X (n×d).

        Raises:
            InputError: X is not a finite matrix with d columns.
        """
        data = as_matrix("X", X, columns=len(self.U))
        if self.offset is not None:
            data = data - self.offset
        if self.scale is not None:
            data = data / self.scale
        hidden = np.maximum(data @ self.U + (0.0 if self.hidden_bias is None else self.hidden_bias), 0.0)
        return np.asarray(hidden @ self.V.T + (0.0 if self.output_bias is None else self.output_bias))

    def predict_class(self, X: ArrayLike) -> NDArray[np.str_] | IntArray:
        """The class with the largest score, (n,); names if the network has ``classes``, else positions.

        Ties go to the class that comes first.
        """
        winner: IntArray = np.argmax(self.predict(X), axis=1).astype(np.int64)
        return winner if self.classes is None else np.array(self.classes)[winner]

    def for_verification(self, classes: tuple[str, ...] | None = None) -> ReluNetwork:
        """The network for verification: offset and scale are folded into the hidden layer, in floating point.

        Its outputs are put into the order of ``classes`` where it names its own.

        Raises:
            InputError: a folded weight overflows, or other classes.
        """
        d, order = len(self.U), self._order(classes)
        U, bias, rounded = self._on(np.zeros(d), np.ones(d))
        output_bias = np.zeros(len(self.V)) if self.output_bias is None else self.output_bias
        found = ReluNetwork(U.T, bias, self.V[order], output_bias[order])
        return found.with_note(ROUNDED) if rounded or self.rounded else found

    def program_weights(
        self, *, offset: FloatArray, scale: FloatArray, bias: bool, classes: tuple[str, ...] | None
    ) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
        """The weights that the network has on the features z = (x − offset)/scale of a training program.

        A network with an offset or a scale takes raw features x, and what differs is folded into U; one without takes
        z. Its outputs are put into the order of ``classes`` where it names its own.

        Args:
            offset, scale: (d,) of the program's features; zeros and ones where they are raw.
            bias: whether the program has a column of ones.
            classes: names of the program's outputs, or None.

        Returns:
            U (d×m, the bias as its last row if there is one), V (c×m), and sentences a user should read.

        Raises:
            InputError: numbers of features or classes that differ, or a hidden bias where the program has none.
        """
        d = len(offset)
        if len(self.U) != d:
            raise InputError(
                f"The network takes {len(self.U)} features, but the data have {d}; give the data it was trained on."
            )
        takes_z = self.offset is None and self.scale is None
        U, hidden_bias, _ = self._on(np.zeros(d), np.ones(d)) if takes_z else self._on(offset, scale)
        changed = U is not self.U
        if bias:
            U = np.vstack([U, hidden_bias])
        elif hidden_bias.any():
            raise InputError(
                f"The network has hidden biases{' once its standardisation is folded in' if changed else ''}, but the "
                "training problem has none; add --hidden-bias penalised."
            )
        return U, self.V[self._order(classes)], (FOLDED,) if changed else ()

    def _on(self, offset: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
        """(U, b, whether they may be rounded) of the same function of (x − offset)/scale."""
        bias = np.zeros(self.width) if self.hidden_bias is None else self.hidden_bias
        own_offset = np.zeros(len(offset)) if self.offset is None else self.offset
        own_scale = np.ones(len(scale)) if self.scale is None else self.scale
        same_offset = np.array_equal(own_offset, offset)
        if same_offset and np.array_equal(own_scale, scale):
            return self.U, bias, False
        with np.errstate(all="ignore"):
            # What overflows is found when it is used.
            gain, shift = scale / own_scale, (offset - own_offset) / own_scale
            exact = same_offset and powers_of_two(own_scale) and np.array_equal(gain * own_scale, scale)
        U, bias, rounded = folded(self.U, bias, gain, shift)
        return U, bias, rounded or not exact

    def _order(self, classes: tuple[str, ...] | None) -> list[int]:
        """Positions of the outputs, in the order of the classes."""
        if self.classes is None or classes is None:
            return list(range(len(self.V)))
        if set(self.classes) != set(classes):
            raise InputError(
                f"The network knows the classes {', '.join(self.classes)}, but those of the data are "
                f"{', '.join(classes)}; give the data it was trained on."
            )
        return [self.classes.index(name) for name in classes]

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
        damaged = f"{path} is damaged or not an .npz file; pass a file that TwoLayerNetwork.save wrote."
        known = {"format", "version", "classes", *_MEMBERS}
        try:
            arrays = npz_arrays(Path(path), damaged, wanted=known.__contains__, largest=LARGEST_FILE)[1]
        except OSError as error:
            raise unreadable(path, error) from None
        return cls.stored(str(path), arrays)

    @classmethod
    def stored(cls, source: str, arrays: Mapping[str, Array]) -> "TwoLayerNetwork":
        """The network of the arrays that ``save`` wrote; errors as ``load``, with the file's name ``source``."""
        known = {name: array.item() for name, array in arrays.items() if array.shape == ()}
        names = arrays.get("classes")
        if known.get("format") != FORMAT:
            raise InputError(f"{source} is not a certnet network; pass a file that TwoLayerNetwork.save wrote.")
        if known.get("version") != VERSION:
            raise InputError(f"{source} has a file version that this certnet cannot read; update certnet.")
        if "U" not in arrays or "V" not in arrays:
            raise InputError(f"{source} holds no weights U and V; save the network again.")
        if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
            raise InputError(f"{source} holds class names that are not text; save the network again.")
        parts = {name: arrays[name] for name in _MEMBERS if name in arrays}
        return assemble(source, **parts, classes=None if names is None else names.tolist())


def assemble(source: str, **parts: Any) -> TwoLayerNetwork:
    """The network of these parts, with the name of their file in every complaint."""
    try:
        return TwoLayerNetwork(**parts)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _weights(name: str, value: ArrayLike) -> FloatArray:
    """A finite read-only matrix that may have no columns."""
    array = as_array(name, value)
    if array.size:
        as_matrix(name, array)  # which names the entry that is not finite
    return exact_array(name, array, 2)


def folded(U: FloatArray, bias: FloatArray, gain: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """(U, b, whether they may be rounded) of the same function of x where U and b take gain·x + shift."""
    with np.errstate(all="ignore"):
        # What overflows is found when it is used.
        rounded = bool(shift.any()) or not exact_product(gain[:, None], U)
        return gain[:, None] * U, bias + shift @ U, rounded


def powers_of_two(values: FloatArray) -> bool:
    """Whether all are powers of two, up to their signs, so that their reciprocals are exact."""
    return bool((np.abs(np.frexp(values)[0]) == 0.5).all())


def exact_product(a: FloatArray, b: FloatArray) -> bool:
    """Whether a·b is exact in float64 because at each place one factor is 0 or a power of two."""
    with np.errstate(all="ignore"):
        product = a * b
        plain = [(np.abs(np.frexp(x)[0]) == 0.5) & (product / x == y) for x, y in ((a, b), (b, a))]
    return bool(((a == 0) | (b == 0) | plain[0] | plain[1]).all())
