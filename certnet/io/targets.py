"""From labels to target matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certnet.io.dataset import Task
from certnet.io.numbers import parse_number
from formulations import InputError
from formulations._validation import FloatArray

Label = str | float
MOST_NUMBERED_CLASSES = 20
"""More different whole numbers than this are a quantity, such as an age, unless the user says otherwise."""
ROWS_PER_CLASS = 2
"""Rows on average for each of the numbers, below which they do not repeat enough to be classes."""


def guess_task(labels: Sequence[Label], *, source: str) -> tuple[Task, str | None]:
    """What labels from ``label_keys`` seem to be, and a sentence for the user where it could be otherwise.

    Text is classes. So are whole numbers of which there are few and each comes again; other numbers are quantities.
    """
    values = set(labels)
    if not all(isinstance(value, float) for value in values):
        return "classification", None
    numbers = sorted(value for value in values if isinstance(value, float))
    count, whole = len(numbers), all(value.is_integer() for value in numbers)
    kind = "whole numbers" if whole else "numbers"
    held = f"{source} holds {count} different {kind} in {len(labels)} rows"
    if count == 1:
        held = f"{source} holds the same number in every row"
    if whole and count <= MOST_NUMBERED_CLASSES and len(labels) >= ROWS_PER_CLASS * count:
        if numbers in (list(range(count)), list(range(1, count + 1)), [-1.0, 1.0]):
            return "classification", None
        return "classification", f"{held}, read as classes; add --task regression to read them as quantities."
    return "regression", f"{held}, read as quantities; add --task classification to read them as classes."


def label_keys(labels: Sequence[Label]) -> list[Label]:
    """Labels in a form in which equal classes are equal: numbers when all of them are numbers, else text."""
    numbers: list[Label] = []
    for label in labels:
        number = parse_number(label) if isinstance(label, str) else float(label)
        if number is None:
            return [str(entry) for entry in labels]
        numbers.append(number)
    return numbers


def class_list(labels: Sequence[Label], *, source: str) -> list[Label]:
    """Sorted classes of the training labels.

    Raises:
        InputError: a single class, or numbers that are plainly no classes.
    """
    classes = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(classes) < 2:
        advice = ", or --task regression, which reads quantities" if isinstance(classes[0], float) else ""
        raise InputError(f"{source} holds only one class, {class_name(classes[0])!r}; at least two are needed{advice}.")
    if isinstance(classes[0], float) and len(classes) > max(20, len(labels) // 2):
        raise InputError(
            f"{source} holds {len(classes)} different numbers in {len(labels)} rows, too many for classes; "
            "train on them with --task regression."
        )
    return classes


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network that is asked about rows, as their labels may call them.

    Attributes:
        count: their number, or None where labels do not matter.
        names: their names in order; labels are numbers from 0 where there are none.
    """

    count: int | None
    names: Sequence[str] | None = None

    def classes(self, labels: Sequence[Label], *, source: str) -> list[Label]:
        """What the labels call the outputs, in the outputs' order. Rows need not be of all classes.

        Text goes in alphabetical order where outputs have no names, and then has to be of all classes.

        Raises:
            InputError: a label that is no output's.
        """
        found = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
        if self.count is None:
            return found
        if self.names is not None:
            known: list[Label] = list(self.names)
        elif isinstance(found[0], str) and len(found) != self.count:
            raise InputError(
                f"{source} names {len(found)} classes, but the network has {self.count} outputs without names; label "
                "rows with the number of their output, from 0."
            )
        else:
            known = found if isinstance(found[0], str) else [float(number) for number in range(self.count)]
        self.require(found, known, source=source)
        return known

    def require(self, labels: Sequence[Label], known: Sequence[Label], *, source: str) -> None:
        """Raise InputError for a label that is none of those of the outputs."""
        names = [class_name(label) for label in known]
        odd = next((class_name(label) for label in labels if class_name(label) not in names), None)
        if odd is not None:
            shown = ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:9])}, …, {names[-1]}"
            raise InputError(f"{source} has the label {odd!r}, which no output of the network has; they are {shown}.")


def class_name(label: Label) -> str:
    """A label as text, whole numbers without a decimal point."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label.is_integer() else repr(label)


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


def is_one_hot(Y: FloatArray) -> bool:
    """Whether every row has one 1 and otherwise 0, with at least two columns."""
    return Y.shape[1] > 1 and bool(np.isin(Y, (0.0, 1.0)).all() and (Y.sum(axis=1) == 1.0).all())
