"""Lists of instances, as VNN-COMP has them: a network, a property of it, and seconds for both."""

import csv
import glob
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certnet.io.output import csv_text
from certnet.io.packed import ending, read_bytes
from formulations import InputError

LARGEST_FILE = 1 << 26  # Bytes of a list.
MOST = 100_000  # Instances of a list.
LIST = "instances.csv"  # The list in a folder that holds one.
WORDS = {"sat": "sat", "violated": "sat", "unsat": "unsat", "holds": "unsat"}
"""What a list may expect, in the words of VNN-COMP; others expect nothing."""


@dataclass(frozen=True)
class Instance:
    """One question: network and property, as they are written in the list or were found, relative to a folder.

    ``seconds`` and ``expected`` ("sat" or "unsat") are None where the list says nothing of them.
    """

    network: str
    query: str
    folder: Path
    seconds: float | None = None
    expected: str | None = None

    @property
    def files(self) -> tuple[str, str]:
        return str(self.folder / self.network), str(self.folder / self.query)


def read_instances(source: str, network: str | None = None) -> list[Instance]:
    """The instances of a list, of the properties in a folder and below it, or of a pattern such as ``boxes/*.vnnlib``.

    A list has a line ``network,property,seconds,expected`` for each; the last two may be missing. Paths are relative to
    its folder. A folder with a list of the name ``instances.csv`` stands for that. ``network`` is that of properties
    without a list.
    """
    path = Path(source)
    if path.is_dir() and (path / LIST).is_file() and network is None:
        path = path / LIST
    if path.is_file() and ending(path) == ".csv":
        if network is not None:
            raise InputError(f"{source} names the network of each instance; leave {network} out.")
        found = [_instance(path, line, cells) for line, cells in _lines(path)]
    else:
        if network is None:
            raise InputError(f"{source} is no list in CSV; name the network of its properties before --instances.")
        names = path.rglob("*") if path.is_dir() else map(Path, glob.iglob(source, recursive=True))  # noqa: PTH207
        found = [Instance(network, str(name), Path()) for name in sorted(names) if ending(name) == ".vnnlib"]
    if not found:
        raise InputError(f"There is no instance in {source}; give a list in CSV, or a folder or pattern of properties.")
    if len(found) > MOST:
        raise InputError(f"{source} has {len(found)} instances, and at most {MOST} are taken; split it.")
    return found


def with_expected(instances: list[Instance], path: str) -> list[Instance]:
    """The instances with the verdicts of a file of lines ``property,verdict``, by the name of the property's file."""
    table = {Path(cells[0]).name: WORDS.get(cells[-1].lower()) for _, cells in _lines(Path(path)) if len(cells) > 1}
    found = [replace(one, expected=table.get(Path(one.query).name, one.expected)) for one in instances]
    if not any(one.expected for one in found):
        raise InputError(f"{path} expects nothing of these instances; give lines such as prop_1.vnnlib,unsat.")
    return found


def results_csv(category: str, results: Sequence[Mapping[str, Any]]) -> str:
    """What VNN-COMP's scripts write: category, network, property, seconds to prepare, result, seconds to run."""
    order = ("network", "property", "prepared", "result", "seconds")
    rows = ([f"{one[name]:.6f}" if name in ("prepared", "seconds") else one[name] for name in order] for one in results)
    return csv_text([category, *row] for row in rows)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and cells of the lines that are not empty."""
    try:
        text = read_bytes(path, LARGEST_FILE).decode("utf-8-sig")
        for number, cells in enumerate(csv.reader(io.StringIO(text), strict=True), start=1):
            if any(cell.strip() for cell in cells):
                yield number, [cell.strip() for cell in cells]
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path.name} is no table in CSV of UTF-8 text; save it as one.") from None


def _instance(path: Path, line: int, cells: list[str]) -> Instance:
    named = all(cell.isprintable() for cell in cells)
    fits = named and 2 <= len(cells) <= 4 and cells[0] and ending(Path(cells[1])) == ".vnnlib"
    try:
        seconds = float(cells[2]) if len(cells) > 2 and cells[2] else None
    except ValueError:
        seconds = math.nan
    if not fits or (seconds is not None and not 0 < seconds < math.inf):
        raise InputError(
            f"{path.name}, line {line}: an instance is network,property,seconds,expected, such as "
            "net.onnx,prop.vnnlib,60,unsat, of which the last two may be missing."
        )
    return Instance(cells[0], cells[1], path.parent, seconds, WORDS.get(cells[3].lower()) if len(cells) > 3 else None)
