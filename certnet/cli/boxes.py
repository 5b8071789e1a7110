"""The regions that a command asks about: an interval for each input, a property's boxes, or data."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from certnet.cli.options import Around
from certnet.cli.parsing import argument, refuse
from certnet.cli.rows import Subject, parse_rows, read_features
from certnet.io.packed import ending
from certnet.io.vnnlib import read_vnnlib
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, region_maker

BOX = argument(
    "BOX|DATA",
    "An interval such as '[0,1]' for all inputs, or one for each, '[0,1],[-2,2]'; a VNN-LIB file, whose boxes "
    "count; or data as for certnet verify: the smallest box of their rows, or with --radius R what is around each.",
)  # TYPE str
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
INTERVAL = re.compile(rf"\[\s*({NUMBER})\s*,\s*({NUMBER})\s*\]")


def asked(subject: Subject, text: str, around: Around) -> tuple[ReluNetwork, dict[str, InputRegion]]:
    """The network of raw features, and what an argument BOX|DATA stands for: regions by name, the only one by none."""
    is_box = text.lstrip().startswith("[")
    if is_box or ending(Path(text)) == ".vnnlib":
        refuse(around, f"it goes with data; {text[:40]!r} says which inputs are meant")
        network = subject.read.on()
        if is_box:
            return network, {"": _box(text, network.inputs)}
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
