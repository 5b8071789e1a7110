"""Run folders: what ``certnet train``, ``optimality`` and ``audit`` leave behind, read again as one thing.

Nothing in a folder is believed: figures are shown as the report states them, and ``certnet check`` proves them anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certificates.findings import SCHEMA
from certnet.io.network import TwoLayerNetwork
from certnet.io.packed import json_object
from certnet.runtime.display import Result
from certnet.runtime.headline import Headline, headline
from certnet.runtime.wording import NONE, figure, listed, mapping, number
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import accepts, location

if TYPE_CHECKING:
    from certnet.io.dataset import Recipe

__all__ = ["Run", "read_run", "read_runs"]

HOME = Path("runs")
"""Where runs are written by default, and looked for by their bare names."""
REPORT, NETWORK, CERTIFICATE, TABLE = "report.json", "network.npz", "optimality.cert", "path.json"
_listed = partial(listed, most=8, width=200)
"""Folders in a complaint."""


@dataclass(frozen=True, eq=False, repr=False)
class Run(Result):
    """A folder of results.

    Attributes:
        path: the folder.
        report: its ``report.json``, an object of schema ``certnet/1``; other fields are as somebody wrote them.
        network: the network of a training run, else None.
        certificate: the file of the certificate about training, or None.
    """

    path: Path
    report: Mapping[str, Any]
    network: TwoLayerNetwork | None
    certificate: Path | None

    def to_dict(self) -> dict[str, Any]:
        return dict(self.report)

    def shown(self) -> dict[str, str]:
        """Folder, command and bounds."""
        names = ("gamma", "objective", "lower_bound", "gap", "width")
        known = {name: figure(self.report.get(name), 6) for name in names}
        return {"path": str(self.path), "command": self.command, **{k: v for k, v in known.items() if v != NONE}}

    def message(self) -> str:
        return self.headline.text

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def command(self) -> str:
        return str(self.report["command"])

    @property
    def headline(self) -> Headline:
        return headline(self.report)

    @property
    def recipe(self) -> "Recipe":
        """How its data were made; an InputError where the report does not say."""
        from certnet.io.dataset import Recipe

        try:
            return Recipe.from_json(mapping(self.report.get("data")).get("recipe"))
        except InputError:
            raise InputError(
                f"{self.path / REPORT} does not say how its data were made; train again, or name {NETWORK} in it."
            ) from None

    @property
    def objective(self) -> dict[str, Any]:
        """Loss, ``gamma``, ``hidden_bias`` and ``output_bias`` by name; an InputError where the report says none."""
        kinds = {"loss": str, "gamma": float, "hidden_bias": str, "output_bias": str}
        if not all(type(self.report.get(name)) is kind for name, kind in kinds.items()):
            raise InputError(f"{self.path / REPORT} does not say what was minimised; train again, or name {NETWORK}.")
        return {name: self.report[name] for name in kinds}

    def predict(self, rows: Any) -> dict[str, Sequence[Any]]:
        """Predictions of new rows: a dictionary of columns, as ``certnet predict`` prints them.

        Rows are the path of a CSV, Parquet or ``.npz`` file, or a pandas ``DataFrame``; columns are found by name. Rows
        that cannot be read or lack columns, and runs without a network, are an InputError.
        """
        from certnet.io.answers import answers

        return answers(network_of(self), str(self.objective["loss"]), self.features(rows))

    def features(self, rows: Any) -> FloatArray:
        """(n, d) raw features of new rows, as the network and its exported files take them; rows as for ``predict``."""
        from certnet.io.answers import new_rows

        return new_rows(network_of(self), rows)[0]

    def recipe_for(self, source: str, **changes: Any) -> "Recipe":
        """How other data are to be read for its network: as its own were, by name. Changes that are None count as none.

        Columns are named only where the source has any.
        """
        from certnet.io.load_data import source_kind

        own = replace(self.recipe, source=source)
        if source_kind(source) != "table":
            own = own.of_arrays()
        return replace(own, **{name: value for name, value in changes.items() if value is not None})


@accepts(path=location)
def read_run(path: str | Path) -> Run:
    """Read a run's folder, given by its path or by its name in ``runs``; an InputError says what is wrong with it."""
    folder = find_run(path)
    if folder is None:
        if Path(path).is_file():
            raise InputError(f"{path} is a file; name the folder of a run, which certnet train makes.")
        import difflib

        names = runs_here()
        close = difflib.get_close_matches(Path(path).name, names, n=1)
        there = f"there are {_listed([HOME / name for name in names])}" if names else "certnet train makes one"
        advice = f"did you mean {close[0]}?" if close else f"{there}."
        raise InputError(f"There is no run {str(path)!r}, neither here nor in {HOME}; {advice}")
    if not (folder / REPORT).is_file():
        inside = _runs_in(folder)
        if (folder / TABLE).is_file() or inside:
            raise InputError(f"{folder} holds runs; name one of them: {_listed(inside) or 'none is finished'}.")
        raise InputError(
            f"{folder} holds no {REPORT}, so it is no folder of a finished run; name one that certnet train made."
        )
    report = json_object(folder / REPORT)
    if not (report.get("schema") == SCHEMA and isinstance(report.get("command"), str)):
        raise InputError(f"{folder / REPORT} is no report of certnet; name the folder of a run.")
    network = TwoLayerNetwork.load(folder / NETWORK) if report["command"] == "train" else None
    certificate = folder / CERTIFICATE
    return Run(folder, report, network, certificate if certificate.is_file() else None)


@accepts(path=location)
def read_runs(path: str | Path) -> tuple[Run, ...]:
    """The run of a folder, or of each weight decay where it holds a path, the largest first; errors as ``read_run``."""
    folder = find_run(path)
    inside = [] if folder is None or not (folder / TABLE).is_file() else _runs_in(folder)
    if not inside:
        return (read_run(path),)
    return tuple(sorted(map(read_run, inside), key=lambda run: number(run.report.get("gamma")) or 0.0, reverse=True))


def runs_here() -> list[str]:
    """Names of the runs in ``runs``, and of the paths."""
    paths = [file.parent for file in HOME.glob(f"*/{TABLE}")]
    return sorted({folder.name for folder in (*_runs_in(HOME), *paths)})


def find_run(path: str | Path) -> Path | None:
    """The folder of this path, or of this name in ``runs``; None where there is none."""
    for place in (Path(path), HOME / path):
        if str(path).strip() and place.is_dir():
            return place
    return None


def network_of(run: Run) -> TwoLayerNetwork:
    if run.network is None:
        raise InputError(f"{run.path} holds the results of certnet {run.command}, no network; name a run of training.")
    return run.network


def certificates_in(path: Path) -> list[Path]:
    """All certificates in a folder and those below, by name; there has to be one."""
    found = sorted(file for file in path.rglob("*.cert") if file.is_file() and not file.name.startswith("."))
    if not found:
        raise InputError(f"{path} holds no certificate, no file that ends in .cert; name the folder of a run.")
    return found


def _runs_in(folder: Path) -> list[Path]:
    return sorted(file.parent for file in folder.glob(f"*/{REPORT}") if not file.parent.name.startswith("."))
