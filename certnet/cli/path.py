"""``certnet train --gammas``: a folder for each weight decay, and a table of all of them."""

import contextlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from certificates import Training, Verdict, check, fingerprint, read_certificate
from certificates.arithmetic import Arithmetic
from certnet.cli.limits import began, job_seconds, positive_numbers
from certnet.cli.output import BY_VERDICT, Exit, head
from certnet.cli.report import training_report
from certnet.cli.resume import CHECKPOINT, about
from certnet.cli.scores import evaluate
from certnet.cli.show import NONE, Live, bounds, stderr_console, summary
from certnet.cli.train import (
    FILES,
    STOPPED,
    Keeper,
    TrainOptions,
    check_options,
    network_of,
    stored_recipe,
    writers,
)
from certnet.io import Split, load
from certnet.io.network import TwoLayerNetwork
from certnet.io.output import OutputFolder, Writer, files_in, json_writer, output_folder, print_result
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint, read_checkpoint
from certnet.jobs.path import PathResult, distinct_gammas, train_path
from certnet.jobs.train import TrainingResult
from certnet.runtime.machine import versions
from certnet.solvers import SolveStatus
from formulations import InputError, TrainingProgram

TABLE, PREFIX = "path.json", "gamma_"
_SEVERITY = (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.PROVED)
_KEPT = ("rank", "spectrum", "relaxation", "stages", "seconds")
"""Fields of a stored report that its certificate cannot give again."""


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """The options of the command; ``train.gamma`` is not used.

    Attributes:
        gammas: the weight decays, in the order of the command line.
        resume: keep what is finished in the output folder.
    """

    train: TrainOptions
    gammas: tuple[float, ...]
    resume: bool = False


def parse_gammas(text: str) -> tuple[float, ...]:
    """The weight decays of ``--gammas 1,0.3,0.1``.

    Raises:
        InputError: no positive finite numbers, or one of them twice.
    """
    return positive_numbers(text, "--gammas", "1,0.3,0.1", distinct_gammas)


def folder_name(gamma: float) -> str:
    """Name of the folder of one γ: the shortest decimal number that reads back as γ, so that no two collide."""
    return f"{PREFIX}{repr(gamma).removesuffix('.0')}"


def run_path(options: PathOptions) -> int:
    """Train for every γ, write folders and table, print, and return the exit code of the worst verdict.

    Raises:
        InputError: anything a user can put right; nothing is left in the output folder then.
    """
    with contextlib.ExitStack() as held:
        job = _Job(options, held)
        found = job.run()
        report = job.deliver(found)
        job.clean()
    job.show(report)
    if found.interrupted:
        return Exit.INTERRUPTED
    return BY_VERDICT[Verdict(report["verdict"])]


class _Job:
    """One call of the command: the output folders and the report of each γ so far."""

    def __init__(self, options: PathOptions, held: contextlib.ExitStack) -> None:
        self.started = began()
        self.options, self.train = options, options.train
        check_options(replace(self.train, gamma=options.gammas[0]))
        self.split: Split = load(self.train.recipe)
        self.programs = {
            gamma: TrainingProgram(self.split.X_train, self.split.Y_train, gamma, bias=self.train.recipe.bias)
            for gamma in options.gammas
        }
        self.console = stderr_console()
        self.reports: dict[float, dict[str, Any]] = {}
        self.keepers: dict[float, Keeper] = {}
        self.failures: list[str] = []
        out = Path(self.train.out or f"runs/{self.split.name}")
        if options.resume and not ((out / TABLE).is_file() or any(out.glob(f"{PREFIX}*/*"))):
            raise InputError(f"There is no path in {out} to go on with; look at its name, or leave --resume out.")
        self.out = held.enter_context(output_folder(out, files=(TABLE,)))
        files = (*FILES.values(), CHECKPOINT)
        self.folders = {
            gamma: held.enter_context(output_folder(out / folder_name(gamma), files=files, command="train"))
            for gamma in options.gammas
        }

    def clean(self) -> None:
        """Remove the folders that were made and hold nothing."""
        for folder in (*self.folders.values(), self.out):
            folder.discard()

    def run(self) -> PathResult:
        """Train along the path; every result is on the disk as soon as it is there."""
        if not self.train.quiet:
            for note in self.split.notes:
                self.console.print(note, markup=False)
        known = self._finished() if self.options.resume else {}
        resume = self._checkpoints(known) if self.options.resume else {}
        recipe = self.train.recipe
        limit = job_seconds(self.train.time_limit, self.started)
        with Live(self.console, enabled=not self.train.quiet, time_limit=limit) as live:
            return train_path(
                self.split.X_train,
                self.split.Y_train,
                gammas=self.options.gammas,
                bias=recipe.bias,
                solver=self.train.solver,
                time_limit=limit,
                tolerance=self.train.tolerance,
                random_state=recipe.seed,
                progress=live,
                provenance={"data": stored_recipe(recipe).to_json()},
                device=self.train.device,
                known=known,
                checkpoint=self._keeper,
                resume=resume,
                finished=self._write,
            )

    def _keeper(self, gamma: float) -> Keeper:
        path = self.folders[gamma].path / CHECKPOINT
        keeper = self.keepers[gamma] = Keeper(path, about(replace(self.train, gamma=gamma)))
        return keeper

    def _write(self, result: TrainingResult) -> None:
        gamma = result.program.gamma
        stopped = result.relaxation is not None and result.relaxation.status is SolveStatus.TIME_LIMIT
        scores = evaluate(self.split, result.U, result.V)

        def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
            report = training_report(
                result,
                self.split,
                scores=scores,
                files=files_in(place, FILES),
                notes=(*self.split.notes, *result.notes, *([STOPPED] if stopped else []), *failures),
                seconds=float(sum(result.stages.values())),
            )
            if result.relaxation is None and gamma in self.reports:
                report |= {name: self.reports[gamma].get(name) for name in _KEPT}
            return report, writers(self.split, result, report)

        # A table of earlier results is not to stand beside new ones, should this run be killed.
        with contextlib.suppress(OSError):
            (self.out.path / TABLE).unlink()
        self.reports[gamma], failure = self.folders[gamma].deliver(described)
        self._warn(failure)
        if failure is not None and self.reports[gamma]["files"]:
            # What another γ improves later goes to the same place.
            self.folders[gamma] = OutputFolder(Path(self.reports[gamma]["files"]["report"]).parent, ())
        if failure is None and not result.interrupted and gamma in self.keepers:
            self.keepers[gamma].remove()

    def _warn(self, failure: str | None) -> None:
        if failure is not None:
            self.failures.append(failure)
            self.console.print(f"certnet: {failure}", markup=False, soft_wrap=True)

    def _finished(self) -> dict[float, TrainingResult]:
        """Results of an earlier run with the same recipe that need not be computed again; each is proved anew."""
        results = {}
        for gamma, program in self.programs.items():
            found = self._read(self.folders[gamma].path, program)
            if found is not None:
                results[gamma], self.reports[gamma] = found
                if not self.train.quiet:
                    self.console.print(f"γ = {gamma:g} is finished; its certificate was proved again.", markup=False)
        return results

    def _read(self, folder: Path, program: TrainingProgram) -> tuple[TrainingResult, dict[str, Any]] | None:
        """A finished result and its report, or None when anything about them does not fit."""
        try:
            report = json.loads((folder / FILES["report"]).read_text(encoding="utf-8"))
            certificate = read_certificate(folder / FILES["certificate"], Training)
            network = TwoLayerNetwork.load(folder / FILES["network"])
        except (OSError, ValueError, RecursionError, InputError):
            return None
        if not isinstance(report, dict):
            return None
        same = (
            report.get("command") == "train"
            and isinstance(report.get("seconds"), int | float)
            and isinstance(report.get("rank"), int | None)
            and report.get("interrupted") is False
            and report.get("gamma") == certificate.gamma == program.gamma
            and certificate.data_fingerprint == fingerprint(program.X, program.Y)
            and certificate.bias == program.bias
            and certificate.provenance.get("data") == stored_recipe(self.train.recipe).to_json()
        )
        if not same:
            return None
        proof = check(certificate, arithmetic=Arithmetic.FLOAT)
        if proof.verdict is not Verdict.PROVED:
            return None
        # Figures are shown only where the checker has confirmed them; the rest of a stored report is information.
        report |= head("train", proof, proof.reason) | evaluate(self.split, certificate.U, certificate.V)
        report["width"] = int(certificate.U.shape[1])
        result = TrainingResult(program, certificate, proof)
        expected = network_of(self.split, result)
        names = [field.name for field in fields(expected)]
        same = all(np.array_equal(getattr(network, name), getattr(expected, name)) for name in names)
        return (result, report) if same else None

    def _checkpoints(self, known: Mapping[float, TrainingResult]) -> dict[float, Checkpoint]:
        found = {}
        for gamma, program in self.programs.items():
            path = self.folders[gamma].path / CHECKPOINT
            if gamma in known or not path.is_file():
                continue
            try:
                checkpoint = read_checkpoint(path)
            except InputError as error:
                self.console.print(f"γ = {gamma:g} starts anew: {error}", markup=False)
                continue
            if checkpoint.fingerprint == program_fingerprint(program):
                found[gamma] = checkpoint
        return found

    def deliver(self, found: PathResult) -> dict[str, Any]:
        """Write path.json, and give what stands in it."""

        def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
            report = self._report(found, files_in(place, {"table": TABLE}), failures)
            return report, {TABLE: json_writer(report)}

        report, failure = self.out.deliver(described)
        self._warn(failure)
        return report

    def _report(self, found: PathResult, files: Mapping[str, Path], failures: tuple[str, ...]) -> dict[str, Any]:
        """A row for each γ that has a result."""
        rows = [self._row(gamma) for gamma in found.gammas if gamma in self.reports]
        best = _best(rows)
        for row in rows:
            row["best"] = best is not None and row["gamma"] == best["gamma"]
        worst = min((row["verdict"] for row in rows), key=lambda verdict: _SEVERITY.index(Verdict(verdict)))
        proved = sum(row["verdict"] == Verdict.PROVED for row in rows)
        missing = f"; missing: {', '.join(f'{gamma:g}' for gamma in found.missing)}" if found.missing else ""
        return {
            **head("train", None, f"{proved} of {len(found.gammas)} weight decays are proved{missing}"),
            "verdict": worst,
            "interrupted": found.interrupted,
            "gammas": list(found.gammas),
            "missing": list(found.missing),
            "best": best,
            "results": rows,
            "seconds": time.perf_counter() - self.started,
            "files": {name: str(path) for name, path in files.items()},
            "versions": versions(),
            "notes": [*self.split.notes, *self.failures, *failures],
        }

    def _row(self, gamma: float) -> dict[str, Any]:
        report = self.reports[gamma]
        names = ("gamma", "verdict", "reason", "objective", "lower_bound", "gap", "interrupted", "rank", "width")
        row: dict[str, Any] = {name: report.get(name) for name in (*names, "seconds")}
        row |= {name: report[name] for name in ("accuracy", "r2", "mean_squared_error") if name in report}
        written = report["files"].get("report")
        return {**row, "folder": None if written is None else str(Path(written).parent)}

    def show(self, report: Mapping[str, Any]) -> None:
        """The table on stderr, the summaries on stdout."""
        if not self.train.quiet:
            self.console.print(_table(report, self.split))
        if report["interrupted"]:
            missing = ", ".join(f"{gamma:g}" for gamma in report["missing"]) or "none"
            self.console.print(f"certnet: Interrupted; finished γ were written, missing: {missing}.", markup=False)
        lines = [f"gamma {row['gamma']:g}: {summary(row)}" for row in report["results"]]
        print_result(report, [*lines, *report["files"].values()], as_json=self.train.json)


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The γ that does best on the validation rows, the larger one in doubt; None without such rows."""
    scored = []
    for row in rows:
        name = "accuracy" if "r2" not in row else "mean_squared_error"
        value = row[name]["validation"]
        if value is not None and math.isfinite(value):
            scored.append((value if name == "accuracy" else -value, row["gamma"], name, value))
    if not scored:
        return None
    _, gamma, name, value = max(scored)
    return {"gamma": gamma, "score": name, "validation": value}


def _table(report: Mapping[str, Any], split: Split) -> Table:
    name, title = ("accuracy", "accuracy") if split.task == "classification" else ("r2", "R²")
    table = Table(title=escape(f"{split.name}: {report['reason']}"), title_justify="left")
    for column in ("γ", "objective", "lower bound", "gap", "rank", "neurons", f"{title} train", "validation", "time"):
        table.add_column(column, justify="right")
    for row in report["results"]:
        shown = (row[name]["train"], row[name]["validation"])
        table.add_row(
            f"{row['gamma']:g}{' *' if row['best'] else ''}",
            *bounds(row),
            NONE if row["rank"] is None else str(row["rank"]),
            str(row["width"]),
            *(NONE if value is None else f"{value:.4g}" for value in shown),
            f"{row['seconds']:.1f} s",
        )
    if report["best"] is not None:
        table.caption = "* best on the validation rows"
    return table
