"""The network that a command is about, and where: rows of data, intervals of inputs, boxes of a property."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.cli.limits import column_names
from certnet.cli.options import Around, Columns
from certnet.cli.parsing import argument, refuse
from certnet.io.load_network import named_network
from certnet.io.network import TwoLayerNetwork
from certnet.io.packed import ending
from certnet.io.runs import HOME, Run
from certnet.runtime.wording import down
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, region_maker

if TYPE_CHECKING:
    from certnet.io.dataset import Recipe

BOX = argument(
    "BOX|DATA",
    "An interval such as '[0,1]' for all inputs, or one for each, '[0,1],[-2,2]'; a VNN-LIB file, whose boxes "
    "count; or data as for certnet verify: the smallest box of their rows, or with --radius R what is around each.",
)
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
INTERVAL = re.compile(rf"\[\s*({NUMBER})\s*,\s*({NUMBER})\s*\]")
BY_NAME = "the network finds its columns by name"
REACH = 4.0  # Radii are looked for up to so many times the deviation of a feature.


@dataclass(frozen=True, eq=False)
class Subject:
    """The network that a command is about, by the name of its file or run; ``run`` is None for a file."""

    name: str
    read: TwoLayerNetwork
    run: Run | None

    @classmethod
    def named(cls, text: str) -> "Subject":
        """The network of a file or of a run, which is refused if it cannot be read."""
        read, run = named_network(text)
        return cls(Path(text).name if run is None else run.name, read, run)

    def require_classes(self, what: str) -> None:
        """Refuse a network of numbers where classes are asked about; ``what`` begins the sentence."""
        if self.read.network.outputs == 1 and not self.read.is_binary:
            raise InputError(f"{what} about classes, but {self.name} predicts numbers; certnet range is about these.")

    def place(self, command: str, data: str) -> Path:
        """Where the results of a command about this network and these data go by default."""
        return HOME / command / f"{Path(self.name).stem if self.run is None else self.name}-{data}"

    def data(self, named: str | None) -> str:
        """The data that are named, else those that its run was trained on."""
        if named is not None:
            return named
        if self.run is None:
            raise InputError(f"Name the data after {self.name}; only the folder of a run knows its own.")
        return self.run.recipe.source

    def knows_other(self, source: str) -> bool:
        """Whether its run was trained on data of another name, so that all rows of these are new to it."""
        return self.run is not None and Path(self.run.recipe.source).name != Path(source).name

    def recipe(self, source: str, *, drop: str | None = None, **given: Any) -> "Recipe":
        """How data are read for it: as those of its run, but for what is given and not None; ``drop`` is as typed."""
        if drop is not None and self.read.columns is not None:
            raise InputError(f"Leave --drop out: {BY_NAME}.")
        given["drop"] = None if drop is None else column_names(drop, "--drop")
        if self.run is not None:
            return self.run.recipe_for(source, **given)

        from certnet.io.dataset import Recipe

        return Recipe(source=source, **{name: value for name, value in given.items() if value is not None})


def read_features(subject: Subject, source: str, columns: Columns) -> tuple[ReluNetwork, FloatArray]:
    """A network of raw features, and the features it is asked about: test rows where the source has them.

    A table need not have targets where the network finds its columns by name.
    """
    from certnet.io.answers import new_rows, require_kind
    from certnet.io.dataset import Outputs
    from certnet.io.load_data import read_source

    read = subject.read
    if read.columns is not None:
        refuse(BY_NAME, columns)
        return read.on(), new_rows(read, source)[0]
    data = read_source(subject.recipe(source, **vars(columns)).asked_by(None), Outputs(None))
    X = data.X if data.X_test is None else data.X_test
    require_kind(read.network, X, None, source)
    return read.on(), X


def input_names(read: TwoLayerNetwork, chosen: str | None = None) -> dict[int, str]:
    """Names of inputs by number: of all, or of the one whose number or name is given."""
    count = read.network.inputs
    names = [f"x_{j}" for j in range(count)] if read.columns is None else read.columns.feature_names
    found = {j: name for j, name in enumerate(names) if chosen is None or chosen in (name, str(j))}
    if chosen is not None and len(found) != 1:
        raise InputError(f"--input must be a number from 0 to {count - 1} or an input's name, not {chosen[:40]!r}.")
    return found


def reaches(read: TwoLayerNetwork, X: FloatArray) -> FloatArray:
    """(d,) how far radii are looked for in each input: by the network's deviations, else by the spread of rows X."""
    if read.scale is not None:
        return REACH * read.scale
    spread = X.max(axis=0) - X.min(axis=0)
    return REACH * np.where(spread > 0, spread, spread.max() or 1.0)


def parse_rows(text: str | None, count: int) -> range:
    """Rows of ``A:B`` (B not included, either may be missing), or of one number; all without text."""
    if text is None:
        return range(count)
    first, colon, last = text.partition(":")
    try:
        begin = int(first) if first else 0
        end = (int(last) if last else count) if colon else begin + 1
    except ValueError:
        raise InputError(f"--rows must be a number or a range such as 0:20, not {text[:40]!r}.") from None
    if not 0 <= begin < end <= count:
        raise InputError(f"--rows {text[:40]} does not fit; there are rows 0 to {count - 1}.")
    return range(begin, end)


def median_radius(radii: Sequence[float]) -> str | None:
    """What is known of the rows that are done; None where none is."""
    return f"median certified radius {down(float(np.median(radii)), 3)}" if radii else None


def asked(subject: Subject, text: str, around: Around) -> tuple[ReluNetwork, dict[str, InputRegion]]:
    """The network of raw features, and what an argument BOX|DATA stands for: regions by name, the only one by none."""
    is_box = text.lstrip().startswith("[")
    if is_box or ending(Path(text)) == ".vnnlib":
        refuse(f"it goes with data; {text[:40]!r} says which inputs are meant", around)
        network = subject.read.on()
        if is_box:
            return network, {"": _box(text, network.inputs)}
        from certnet.io.vnnlib import read_vnnlib

        cases = read_vnnlib(text, network).cases
        boxes = list(dict.fromkeys(case.region for case in cases if not case.is_impossible))
        if not boxes:
            raise InputError(f"{text} is about no input at all, as what it states is contradictory; give another box.")
        if any(box.inputs != network.inputs for box in boxes):
            raise InputError(f"{text} makes inputs equal; give a box for each input, such as '[0,1],[0,1]'.")
        return network, {f"box {k}" if len(boxes) > 1 else "": box for k, box in enumerate(boxes)}
    network, X = read_features(subject, text, around.columns)
    chosen = parse_rows(around.rows, len(X))
    if around.radius is None:
        if around.norm is not None:
            raise InputError("--norm goes with --radius R, which says how far around each row the inputs are.")
        X = X[chosen.start : chosen.stop]
        return network, {"": InputRegion(X.min(axis=0), X.max(axis=0))}
    make = region_maker(around.norm or "linf")
    return network, {f"row {row}": make(X[row], around.radius) for row in chosen}


def _box(text: str, inputs: int) -> InputRegion:
    """One interval for all inputs or one for each, of exact numbers."""
    found = INTERVAL.findall(text)
    if re.sub(r"[\s,;x×]+", "", INTERVAL.sub("", text)) or not found:
        raise InputError(f"a box must be an interval such as [0,1], or one for each input, not {text[:40]!r}.")
    if len(found) not in (1, inputs):
        raise InputError(f"the box has {len(found)} intervals, but the network has {inputs} inputs; give one for each.")
    sides: Any = [[Fraction(value) for value in side] for side in zip(*found, strict=True)]
    lower, upper = (side * (inputs // len(found)) for side in sides)
    return InputRegion.between(lower, upper)
