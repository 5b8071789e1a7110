"""From labels to target matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certnet.io.cells import EXACT, Label, class_name, parse_number
from certnet.io.dataset import Task
from formulations import InputError
from formulations._validation import FloatArray

MOST_NUMBERED_CLASSES = 20
"""More different whole numbers than this are a quantity, such as an age, unless the user says otherwise."""
ROWS_PER_CLASS = 2
"""Rows on average for each of the numbers or names, below which they do not repeat enough to be classes."""
LARGEST_CLASSES = 1000
"""Each class is an output of the network."""


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
