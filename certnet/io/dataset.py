"""What a data source holds, and what becomes of it: plain frozen records."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from formulations import InputError
from formulations._validation import FloatArray

Task = Literal["classification", "regression"]
_KINDS: dict[str, tuple[type, ...]] = {"source": (str,), "target": (str, type(None)), "task": (str, type(None))}
_KINDS |= {"seed": (int,), "raw": (bool,), "split": (bool,)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How training data come from a source: enough to rebuild the very same X and Y later.

    Attributes:
        source: built-in name, or the path of a CSV or NPZ file.
        target: name of the target column of a CSV file; None for the last one.
        task: "classification", "regression", or None to let the targets decide.
        seed: of the split, at least 0.
        raw: leave the features as they are instead of standardising them.
        split: set rows aside for validation and test when the source brings no such arrays.
    """

    source: str
    target: str | None = None
    task: Task | None = None
    seed: int = 0
    raw: bool = False
    split: bool = True

    def __post_init__(self) -> None:
        if self.task not in (None, "classification", "regression"):
            raise InputError(f"The task must be classification or regression, not {self.task!r}.")
        if self.seed < 0:
            raise InputError(f"The seed must be 0 or more, not {self.seed}.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object that ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> "Recipe":
        """Read a recipe that was stored in a certificate; InputError when it is none."""
        broken = InputError("The certificate's note on how its data were made is damaged; check it without --data.")
        if not isinstance(value, Mapping) or {*value} != {*_KINDS}:
            raise broken
        if not all(type(value[name]) in kinds for name, kinds in _KINDS.items()):
            raise broken
        try:
            return cls(**value)
        except InputError:
            raise broken from None


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet:
    """Features and targets as a source gives them, before any split or standardisation.

    Attributes:
        name: short name, also of the default output folder.
        task: what the targets ask for.
        X, Y: n×d features and n×c targets, finite; one-hot for classes.
        classes: c class names, or None for regression.
        feature_names: d names.
        X_val, Y_val, X_test, Y_test: arrays that the source itself sets aside, or None.
        notes: sentences a user should read, such as how targets were read that leave a choice.
    """

    name: str
    task: Task
    X: FloatArray
    Y: FloatArray
    classes: tuple[str, ...] | None
    feature_names: tuple[str, ...]
    X_val: FloatArray | None = None
    Y_val: FloatArray | None = None
    X_test: FloatArray | None = None
    Y_test: FloatArray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Split(DataSet):
    """Data ready for training; only the training rows X and Y may influence a network or a choice.

    Features are ``(raw − offset) / scale`` with statistics of the training rows alone.

    Attributes:
        X_val, Y_val, X_test, Y_test: rows kept apart, None where there are none.
        offset, scale: (d,) standardisation; zeros and ones for raw features.
        recipe: how to build this split again.
        Others as in ``DataSet``.
    """

    offset: FloatArray
    scale: FloatArray
    recipe: Recipe

    @property
    def X_train(self) -> FloatArray:
        """X."""
        return self.X

    @property
    def Y_train(self) -> FloatArray:
        """Y."""
        return self.Y

    def parts(self) -> Iterator[tuple[str, FloatArray | None, FloatArray | None]]:
        """(name, X, Y) of training, validation and test rows, None where absent."""
        yield "train", self.X, self.Y
        yield "validation", self.X_val, self.Y_val
        yield "test", self.X_test, self.Y_test
