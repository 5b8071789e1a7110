"""A two-layer ReLU network: what a user keeps, predicts with, and stores, and what files of other tools hold."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from certificates.files import write_atomically
from certificates.findings import figures
from certnet.io.folding import Rounded, folded
from certnet.io.output import writing
from certnet.io.packed import LARGEST_FILE, Array, npz_arrays, reading
from certnet.runtime.display import Result
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_matrix, shown
from formulations.network import ReluNetwork
from formulations.rounding import exact_array

if TYPE_CHECKING:
    from certnet.io.columns import Columns

__all__ = ["TwoLayerNetwork"]

FORMAT = "certnet-network"
VERSION = 2
_MEMBERS = ("U", "V", "hidden_bias", "output_bias", "offset", "scale")
ROUNDED = (
    "What the network does beside its two layers, such as standardising, was multiplied into its weights in float64, "
    "which may round; answers are about the weights that came out."
)
FOLDED = (
    "The network standardises features in its own way; that was folded into its hidden weights, and the weight decay "
    "is counted for these."
)


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayerNetwork(Result):
    """A network of features z = (x − offset)/scale, entrywise, and the names of its outputs.

    Attributes:
        network: z ↦ V (Uz + b)₊ + b₂.
        offset: (d,) subtracted from every data row first, or None.
        scale: (d,) positive divisors applied after the offset, or None.
        classes: c names, in the order of the outputs, or None. A network of one output may name two classes: it is
            positive for the second.
        columns: what makes the d features of a table, or None for features without names.
        raw: the same function of x, where it was put together from a file's own numbers; else None.
    """

    network: ReluNetwork
    offset: FloatArray | None = None
    scale: FloatArray | None = None
    classes: Sequence[str] | None = None
    columns: "Columns | None" = None
    raw: ReluNetwork | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, ReluNetwork):
            raise InputError(f"network must be a ReluNetwork, not {shown(self.network)}.")
        d, c = self.network.inputs, self.network.outputs
        for name in ("offset", "scale"):
            value = getattr(self, name)
            vector = None if value is None else exact_array(name, value, 1)
            if vector is not None and len(vector) != d:
                raise InputError(f"{name} has shape {vector.shape} where ({d},) is expected.")
            object.__setattr__(self, name, vector)
        if self.scale is not None and not (self.scale > 0).all():
            raise InputError("scale must be positive in every entry; use 1 for a feature that is not scaled.")
        if self.classes is not None:
            if isinstance(self.classes, str | bytes | Mapping) or not isinstance(self.classes, Iterable):
                raise InputError(f"classes must be a list of names, not {shown(self.classes)}.")
            classes = tuple(str(name) for name in self.classes)
            if len(classes) not in ({1, 2} if c == 1 else {c}) or len(set(classes)) != len(classes):
                raise InputError(f"classes must hold {c} different names, one for each output.")
            object.__setattr__(self, "classes", classes)
        if self.columns is not None and not hasattr(self.columns, "feature_names"):
            raise InputError(f"columns must be those of a network that was read, not {shown(self.columns)}.")
        if self.columns is not None and len(self.columns.feature_names) != d:
            raise InputError(f"columns make {len(self.columns.feature_names)} features where the network takes {d}.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """d names of the features, as the columns give them; else x1, x2, …"""
        from certnet.io.columns import names_of

        return names_of(self.columns, self.network.inputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            **figures(self.network, "inputs", "width", "outputs"),
            "standardised": self.scale is not None,
            "classes": None if self.classes is None else list(self.classes),
            "features": None if self.columns is None else list(self.columns.feature_names),
        }

    @property
    def is_binary(self) -> bool:
        """Whether its one output stands for two classes."""
        two = self.network.ending == "Sigmoid" if self.classes is None else len(self.classes) == 2
        return two and self.network.outputs == 1

    @property
    def scores(self) -> int:
        """How many outputs ``with_scores`` has."""
        return 2 if self.is_binary else self.network.outputs

    def features(self, X: ArrayLike) -> FloatArray:
        """z of raw data X (n×d), which has to be finite."""
        data = as_matrix("X", X, columns=self.network.inputs)
        data = data if self.offset is None else data - self.offset
        return data if self.scale is None else data / self.scale

    def predict(self, X: ArrayLike) -> FloatArray:
        """Scores, n×c, for raw data X (n×d); errors as ``features``."""
        return self.network(self.features(X))

    def predict_class(self, X: ArrayLike) -> NDArray[np.str_] | IntArray:
        """The class with the largest score, (n,); names if the network has ``classes``, else positions.

        Ties go to the class that comes first.
        """
        scores = self.predict(X)
        if self.is_binary:
            scores = np.hstack([np.zeros_like(scores), scores])
        winner: IntArray = np.argmax(scores, axis=1).astype(np.int64)
        return winner if self.classes is None else np.array(self.classes)[winner]

    def on(
        self, offset: FloatArray | None = None, scale: FloatArray | None = None, classes: tuple[str, ...] | None = None
    ) -> ReluNetwork:
        """The same function of other features, (x − offset)/scale, by default of raw x.

        What differs is folded into the hidden layer, in floating point; a network without offset and scale takes
        whatever features it is given. Its outputs are put into the order of ``classes`` where it names its own. Another
        number of features, other classes and a folded weight that overflows are an InputError.
        """
        if offset is None and scale is None and self.raw is not None:
            return self._ordered(self.raw, classes)
        d = self.network.inputs
        offset, scale = np.zeros(d) if offset is None else offset, np.ones(d) if scale is None else scale
        if len(offset) != d:
            raise InputError(
                f"The network takes {d} features, but the data have {len(offset)}; give the data it was trained on."
            )
        own_offset = np.zeros(d) if self.offset is None else self.offset
        own_scale = np.ones(d) if self.scale is None else self.scale
        bare = self.offset is None and self.scale is None
        if bare or (np.array_equal(own_offset, offset) and np.array_equal(own_scale, scale)):
            return self._ordered(self.network, classes)
        gain, shift = Rounded(scale) / Rounded(own_scale), (Rounded(offset) + Rounded(-own_offset)) / Rounded(own_scale)
        U, bias = folded(Rounded(self.network.hidden.T), Rounded(self.network.hidden_bias), gain, shift)
        found = ReluNetwork(U.values.T, bias.values, self.network.output, self.network.output_bias)
        exact = not any(part.off for part in (gain, shift, U, bias))
        return self._ordered(found.told(self.network.note if exact else ROUNDED, self.network.ending), classes)

    def with_scores(self, classes: tuple[str, ...] | None = None) -> ReluNetwork:
        """The network of raw features with an output for each class, in this order: 0 and its own if it is binary."""
        found = self.on(classes=classes)
        if not self.is_binary:
            return found
        output, bias = (np.concatenate([np.zeros_like(part), part]) for part in (found.output, found.output_bias))
        return ReluNetwork(found.hidden, found.hidden_bias, output, bias).as_of(found)

    def _ordered(self, network: ReluNetwork, classes: tuple[str, ...] | None) -> ReluNetwork:
        """The network with its outputs in the order of the classes, where it names its own."""
        if self.classes is None or classes in (None, self.classes):
            return network
        if set(self.classes) != set(classes):
            raise InputError(
                f"The network knows the classes {', '.join(self.classes)}, but those of the data are "
                f"{', '.join(classes)}; give the data it was trained on."
            )
        order = [self.classes.index(name) for name in classes]
        parts = network.output, network.output_bias
        # One output is of two classes, here the other way round.
        output, bias = (-part if network.outputs == 1 else part[order] for part in parts)
        return ReluNetwork(network.hidden, network.hidden_bias, output, bias).as_of(network)

    @property
    def members(self) -> dict[str, FloatArray]:
        """U (d×m), V (c×m), both biases, and offset and scale where there are any."""
        own = self.network
        found = {"U": own.hidden.T, "V": own.output, "hidden_bias": own.hidden_bias, "output_bias": own.output_bias}
        return found | {name: part for name in ("offset", "scale") if (part := getattr(self, name)) is not None}

    def arrays(self) -> dict[str, Array]:
        """What ``save`` writes, by name; U is d×m."""
        arrays: dict[str, Any] = {"format": np.array(FORMAT), "version": np.array(VERSION), **self.members}
        if self.classes is not None:
            arrays["classes"] = np.array(self.classes, dtype=np.str_)
        if self.columns is not None:
            arrays["columns"] = np.array(json.dumps(self.columns.to_json(), ensure_ascii=False))
        return arrays

    def save(self, path: str | Path) -> None:
        """Write an .npz file. It appears under its name only when complete; an old file stays until then."""
        with writing(path):
            write_atomically(path, lambda stream: np.savez(stream, **self.arrays()))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "TwoLayerNetwork":
        """Read what ``save`` wrote; nothing in the file is executed, and what is wrong with it is an InputError."""
        damaged = f"{path} is damaged or not an .npz file; pass a file that TwoLayerNetwork.save wrote."
        with reading(path):
            arrays = npz_arrays(Path(path), damaged, largest=LARGEST_FILE)[1]
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
        # A damaged name would leave a part out.
        if not {*arrays} <= {"format", "version", "classes", "columns", *_MEMBERS}:
            raise InputError(f"{source} is damaged: it holds an array of another name; save the network again.")
        if names is not None and (names.dtype.kind != "U" or names.ndim != 1):
            raise InputError(f"{source} holds class names that are not text; save the network again.")
        parts: dict[str, Any] = {name: arrays[name] for name in _MEMBERS if name in arrays}
        columns = None
        if "columns" in arrays:
            from certnet.io.columns import Columns

            try:
                columns = Columns.from_json(json.loads(arrays["columns"].item()))
            except (ValueError, TypeError, RecursionError):
                said = f"{source} is damaged: its columns are no recipe of such; save the network again."
                raise InputError(said) from None
        return assemble(source, **parts, classes=None if names is None else names.tolist(), columns=columns)


def assemble(
    source: str,
    *,
    U: ArrayLike,
    V: ArrayLike,
    hidden_bias: ArrayLike | None = None,
    output_bias: ArrayLike | None = None,
    rounded: bool = False,
    raw: Sequence[Rounded] | None = None,
    ending: str | None = None,
    **parts: Any,
) -> TwoLayerNetwork:
    """The network of a file's arrays, U being d×m, with the file's name in every complaint.

    ``rounded`` where these numbers were computed from those of the file and may have been rounded; ``raw`` are U, b, V
    and b₂ of the network of raw features, with what these are off; ``ending`` is what the file applies to the outputs.
    """
    try:
        hidden, output = exact_array("U", U, 2), exact_array("V", V, 2)
        if hidden.shape[1] != output.shape[1]:
            raise InputError(
                f"U has {hidden.shape[1]} neurons but V has {output.shape[1]}; both need one column per neuron."
            )
        b = np.zeros(hidden.shape[1]) if hidden_bias is None else exact_array("hidden_bias", hidden_bias, 1)
        b2 = np.zeros(len(output)) if output_bias is None else exact_array("output_bias", output_bias, 1)
        network = ReluNetwork(hidden.T, b, output, b2).told(ROUNDED if rounded else None, ending)
        if raw is not None:
            first, *others = (part.values for part in raw)
            own, bias, last, shift = (part.off for part in raw)
            found = network if parts.get("offset") is None else ReluNetwork(first.T, *others)
            off = (own, bias, last, shift) if own or bias or last or shift else None
            found = found.told(ROUNDED if off else None, ending, off)
            network, parts["raw"] = (found, None) if parts.get("offset") is None else (network, found)
        return TwoLayerNetwork(network, **parts)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
