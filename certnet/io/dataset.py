"""What a data source holds, and what becomes of it: plain frozen records, and targets made of labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from certnet.io.cells import EXACT, Label, class_name, parse_number
from certnet.io.columns import Columns, Impute, names_of
from certnet.runtime.records import of_json, to_json
from formulations import InputError
from formulations._validation import FloatArray

Task = Literal["classification", "regression"]
AUTO, BALANCED = "auto", "balanced"
_OF_TABLES = ("target", "weight_column", "features", "drop", "categorical", "impute")
MOST_NUMBERED_CLASSES = 20
"""More different whole numbers than this are a quantity, such as an age, unless the user says otherwise."""
ROWS_PER_CLASS = 2
"""Rows on average for each of the numbers or names, below which they do not repeat enough to be classes."""
LARGEST_CLASSES = 1000
"""Each class is an output of the network."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How training data come from a source: enough to rebuild the very same X and Y later.

    Attributes:
        source: built-in name, or the path of a table (CSV or Parquet) or NPZ file.
        target: name of the target column of a table; None for the last one.
        task: "classification", "regression", or None to let the targets decide.
        seed: of the split, at least 0.
        raw: leave the features as they are instead of standardising them.
        split: set rows aside for validation and test when the source brings no such arrays.
        refit: train on the rows that would be set aside for validation too, because the weight decay was chosen by
            folds of them all.
        loss: name of the loss to train with, which decides how classes become targets: a one-hot row, or for the
            losses of signs −1 for the first of two classes and 1 for the second. "auto" becomes logistic for two
            classes, cross-entropy for more, and squared for numbers.
        weight_column: column of a table with the weights of the rows; no feature then.
        class_weight: "balanced" weights rows so that every class counts as much; else None.
        features: columns of a table that are inputs; None for all that look useful.
        drop: columns of a table that are no inputs.
        categorical: columns of a table whose numbers are names.
        impute: what missing values of a table count as.
        columns: what makes features of a table already, as of a network that is asked; None where its rows decide.
        plain: whether each column of a table is a number and a feature.
    """

    source: str
    target: str | None = None
    task: Task | None = None
    seed: int = 0
    raw: bool = False
    split: bool = True
    refit: bool = False
    loss: str = "squared"
    weight_column: str | None = None
    class_weight: str | None = None
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    impute: Impute = "median"
    columns: Columns | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        if self.impute not in get_args(Impute):
            raise InputError(f"The imputation must be one of {', '.join(get_args(Impute))}, not {self.impute!r}.")
        if self.task not in (None, "classification", "regression"):
            raise InputError(f"The task must be classification or regression, not {self.task!r}.")
        if self.seed < 0:
            raise InputError(f"The seed must be 0 or more, not {self.seed}.")
        if self.class_weight not in (None, BALANCED):
            raise InputError(f"The class weight must be {BALANCED} or left out, not {self.class_weight!r}.")
        if self.loss != AUTO:
            from formulations.losses import kind_named  # imports SciPy, which not every command needs

            kind_named(self.loss)

    def to_json(self) -> dict[str, Any]:
        return to_json(self)

    def of_tables(self) -> Iterator[tuple[str, Any]]:
        """The options that are about columns of a table, and their values where they are not as by default."""
        values = ((name, getattr(self, name)) for name in _OF_TABLES)
        yield from ((f"--{name.replace('_', '-')}", value) for name, value in values if value != getattr(Recipe, name))

    def of_arrays(self) -> "Recipe":
        """The same without these options, for a source that is no table."""
        return replace(self, columns=None, **{name: getattr(Recipe, name) for name in _OF_TABLES})

    def asked_by(self, columns: Columns | None) -> "Recipe":
        """The same for rows that a network with these columns is asked about; None for one without names."""
        if columns is None:
            return replace(self, columns=None, plain=True)
        return replace(self, columns=columns, plain=False, features=None, drop=(), categorical=())

    @classmethod
    def from_json(cls, value: object) -> "Recipe":
        """Read what ``to_json`` made, as a certificate holds it; all else is an InputError."""
        try:
            found = of_json(cls, value)
            if found.columns is not None:
                Columns.from_json(found.columns.to_json())
        except ValueError:
            raise InputError(
                "The certificate's note on how its data were made is damaged; check it without --data."
            ) from None
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet:
    """Features and targets as a source gives them, before any split or standardisation.

    Attributes:
        name: short name, also of the default output folder.
        X, Y: n×d features and n×c targets, finite; one-hot for classes.
        classes: c class names, or None for regression.
        sample_weight: (n,) weights of the rows, not negative, or None for ones.
        X_val, Y_val, X_test, Y_test: arrays that the source itself sets aside, or None.
        columns: what made X of a table, or names the columns of built-in data; None for arrays without names.
        notes: sentences a user should read, such as how targets were read that leave a choice.
    """

    name: str
    task: Task
    X: FloatArray
    Y: FloatArray
    classes: tuple[str, ...] | None
    sample_weight: FloatArray | None = None
    X_val: FloatArray | None = None
    Y_val: FloatArray | None = None
    X_test: FloatArray | None = None
    Y_test: FloatArray | None = None
    columns: Columns | None = None
    notes: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        return names_of(self.columns, self.X.shape[1])


@dataclass(frozen=True, eq=False, kw_only=True)
class Split(DataSet):
    """Data ready for training: X and Y alone influence a network, and the validation rows at most the choice of γ.

    Features are ``(raw − offset) / scale`` with statistics of the training rows alone. Rows of weight 0 are left out of
    both parts. Y is what the loss of the recipe takes: two classes are one column of −1 and 1 for losses of signs.

    Attributes:
        sample_weight, weight_val: weights of the training and the validation rows, those of the classes with them, or
            None for ones.
        X_val, Y_val, X_test, Y_test: rows kept apart, None where there are none.
        offset, scale: (d,) standardisation; zeros and ones for raw features.
        recipe: how to build this split again; its loss is named, not "auto".
        Others as in ``DataSet``.
    """

    offset: FloatArray
    scale: FloatArray
    recipe: Recipe
    weight_val: FloatArray | None = None

    def parts(self) -> Iterator[tuple[str, FloatArray | None, FloatArray | None]]:
        """(name, X, Y) of training, validation and test rows, None where absent."""
        yield "train", self.X, self.Y
        yield "validation", self.X_val, self.Y_val
        yield "test", self.X_test, self.Y_test


def label_keys(labels: Sequence[Label], *, exact: bool = False) -> list[Label]:
    """Labels in a form in which equal classes are equal: numbers when all of them are numbers, else text.

    With ``exact`` numbers are text too where some are so large that float64 may not tell them apart.
    """
    numbers = [parse_number(label) if isinstance(label, str) else float(label) for label in labels]
    known = [number for number in numbers if number is not None]
    if len(known) < len(labels):
        return [str(label) for label in labels]
    if not (exact and any(abs(number) >= EXACT for number in known)):
        return [*known]
    pairs = zip(labels, known, strict=True)
    return [str(label) if abs(number) >= EXACT else class_name(number) for label, number in pairs]


def guess_task(labels: Sequence[Label], *, source: str) -> tuple[Task, str | None]:
    """What labels from ``label_keys`` seem to be, and a sentence for the user where it could be otherwise.

    Text is classes. So are whole numbers of which there are few and each comes again; other numbers are quantities.
    """
    numbers = sorted({label for label in labels if isinstance(label, float)})
    if not all(isinstance(label, float) for label in labels):
        return "classification", None
    count, whole = len(numbers), all(value.is_integer() for value in numbers)
    held = f"{source} holds {count} different {'whole ' if whole else ''}numbers in {len(labels)} rows"
    if count == 1:
        held = f"{source} holds the same number in every row"
    if whole and count <= MOST_NUMBERED_CLASSES and len(labels) >= ROWS_PER_CLASS * count:
        if numbers in (list(range(count)), list(range(1, count + 1)), [-1.0, 1.0]):
            return "classification", None
        return "classification", f"{held}, read as classes; add --task regression to read them as quantities."
    return "regression", f"{held}, read as quantities; add --task classification to read them as classes."


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network that is asked about rows, as their labels may call them.

    Attributes:
        count: their number, or None where labels do not matter.
        names: their names in order; labels are numbers from 0 where there are none.
    """

    count: int | None
    names: Sequence[str] | None = None


def coded(
    parts: Sequence[tuple[str, Sequence[Label]]], outputs: Outputs | None
) -> tuple[list[FloatArray], tuple[str, ...]]:
    """One-hot matrices (n, c) of the labels of parts, each with its source, and the names of the c classes.

    The classes are those of the first part, sorted, or with ``outputs`` what the labels call these, in their order.
    Text goes in alphabetical order where outputs have no names, and then has to be of all classes.
    """
    labels = parts[0][1] if outputs is None else [label for _, part in parts for label in part]
    found = sorted(set(labels), key=_order)
    names, numbers, source = [class_name(label) for label in found], isinstance(found[0], float), parts[0][0]
    if outputs is None:
        if len(names) < 2:
            advice = ", or --task regression, which reads quantities" if numbers else ""
            raise InputError(f"{source} holds only one class, {names[0]!r}; at least two are needed{advice}.")
        if len(names) > min(LARGEST_CLASSES, max(MOST_NUMBERED_CLASSES, len(labels) // ROWS_PER_CLASS)):
            kind, advice = ("numbers", "train on them with --task regression")
            if not numbers:
                kind, advice = ("names", "name another --target")
            held = f"{source} holds {len(names)} different {kind} in {len(labels)} rows"
            raise InputError(f"{held}, too many for classes; {advice}.")
    elif outputs.names is not None:
        names = list(outputs.names)
    elif outputs.count is not None and numbers:
        names = [str(output) for output in range(outputs.count)]
    elif outputs.count not in (None, len(names)):
        raise InputError(
            f"{source} names {len(names)} classes, but the network has {outputs.count} outputs without names; label "
            "rows with the number of their output, from 0."
        )
    return [_one_hot(part, names, source, outputs) for source, part in parts], tuple(names)


def _one_hot(labels: Sequence[Label], classes: Sequence[str], source: str, outputs: Outputs | None) -> FloatArray:
    column = {name: index for index, name in enumerate(classes)}
    unknown = [row for row, label in enumerate(labels) if class_name(label) not in column]
    if unknown and outputs is None:
        raise InputError(
            f"{source} has class {class_name(labels[unknown[0]])!r} in row {unknown[0] + 1}, which no training row "
            "has; remove such rows or add training rows of that class."
        )
    if unknown:
        odd = class_name(min((labels[row] for row in unknown), key=_order))
        shown = ", ".join(classes if len(classes) <= 10 else [*classes[:9], "…", classes[-1]])
        raise InputError(f"{source} has the label {odd!r}, which no output of the network has; they are {shown}.")
    Y = np.zeros((len(labels), len(classes)))
    Y[np.arange(len(labels)), [column[class_name(label)] for label in labels]] = 1.0
    return Y


def _order(label: Label) -> tuple[bool, Label]:
    return isinstance(label, str), label
