"""Numbers as people write them, and from labels to target matrices."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certnet.io.dataset import Task
from formulations import InputError
from formulations._validation import FloatArray

Label = str | float
LARGEST = 1e100
"""Largest size of an entry: squares and products of larger ones are out of range."""
MOST_NUMBERED_CLASSES = 20
"""More different whole numbers than this are a quantity, such as an age, unless the user says otherwise."""
ROWS_PER_CLASS = 2
"""Rows on average for each of the numbers, below which they do not repeat enough to be classes."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """The number that ``text`` spells, or None; NaN, infinities and 1_000 are no numbers here.

    With ``decimal_comma`` a comma is the decimal sign, and a point is still read as one.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if decimal_comma:
        plain = plain.replace(",", ".")
    value = float(plain) if _NUMBER.fullmatch(plain) else float("inf")
    return value if abs(value) < float("inf") else None


def label_keys(labels: Sequence[Label]) -> list[Label]:
    """Labels in a form in which equal classes are equal: numbers when all of them are numbers, else text."""
    numbers = [parse_number(label) if isinstance(label, str) else float(label) for label in labels]
    known: list[Label] = [number for number in numbers if number is not None]
    return known if len(known) == len(labels) else [str(label) for label in labels]


def class_name(label: Label) -> str:
    """A label as text, whole numbers without a decimal point."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label.is_integer() else repr(label)


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


def class_list(labels: Sequence[Label], outputs: Outputs | None = None, *, source: str) -> list[Label]:
    """The classes of training labels, sorted, or with ``outputs`` what the labels call these, in their order.

    Rows that a network is asked about need not be of all classes. Text goes in alphabetical order where outputs have no
    names, and then has to be of all classes.

    Raises:
        InputError: a single class to train on, numbers that are plainly no classes, or a label that is no output's.
    """
    found = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if outputs is None:
        _require_trainable(found, len(labels), source)
        return found
    if outputs.count is None:
        return found
    text = isinstance(found[0], str)
    if outputs.names is None and text and len(found) != outputs.count:
        raise InputError(
            f"{source} names {len(found)} classes, but the network has {outputs.count} outputs without names; label "
            "rows with the number of their output, from 0."
        )
    known: list[Label] = list(map(float, range(outputs.count)))
    if outputs.names is not None or text:
        known = found if outputs.names is None else list(outputs.names)
    names = [class_name(label) for label in known]
    odd = next((class_name(label) for label in found if class_name(label) not in names), None)
    if odd is not None:
        shown = ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:9])}, …, {names[-1]}"
        raise InputError(f"{source} has the label {odd!r}, which no output of the network has; they are {shown}.")
    return known


def _require_trainable(classes: Sequence[Label], rows: int, source: str) -> None:
    numbers = isinstance(classes[0], float)
    if len(classes) < 2:
        advice = ", or --task regression, which reads quantities" if numbers else ""
        raise InputError(f"{source} holds only one class, {class_name(classes[0])!r}; at least two are needed{advice}.")
    if numbers and len(classes) > max(MOST_NUMBERED_CLASSES, rows // ROWS_PER_CLASS):
        raise InputError(
            f"{source} holds {len(classes)} different numbers in {rows} rows, too many for classes; "
            "train on them with --task regression."
        )


def one_hot(labels: Sequence[Label], classes: Sequence[Label], *, source: str) -> FloatArray:
    """(n, c) matrix with a one where the label is the class.

    Raises:
        InputError: a label that is none of the classes.
    """
    column = {class_name(label): index for index, label in enumerate(classes)}
    Y = np.zeros((len(labels), len(classes)))
    for row, label in enumerate(labels):
        if class_name(label) not in column:
            raise InputError(
                f"{source} has class {class_name(label)!r} in row {row + 1}, which no training row has; "
                "remove such rows or add training rows of that class."
            )
        Y[row, column[class_name(label)]] = 1.0
    return Y
