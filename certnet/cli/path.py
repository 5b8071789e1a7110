"""``certnet train --gammas``: a folder for each weight decay, and a table of all of them."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from certificates import Training, Verdict, check, read_certificate
from certificates.making.assemble import program_of
from certnet.cli import training
from certnet.cli.limits import began, job_seconds
from certnet.cli.output import SEVERITY, deliver, head, say
from certnet.cli.resuming import CHECKPOINT, Keeper, about
from certnet.cli.scores import evaluate
from certnet.cli.show import Live, rows_table, summary, tell
from certnet.io.load_data import load
from certnet.io.output import OutputFolder, output_folder
from certnet.io.runs import network_of, read_run
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint, read_checkpoint
from certnet.jobs.path import PathResult, train_path
from certnet.jobs.train import TrainingResult
from certnet.report.comparison import BEST, best_of
from certnet.report.records import Table
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS, bounds, figure, number
from formulations import InputError, TrainingProgram

TABLE, PREFIX = "path.json", "gamma_"
_KEPT = ("rank", "spectrum", "relaxation", "stages", "seconds")
"""Fields of a stored report that its certificate cannot give again."""


def folder_name(gamma: float) -> str:
    """Name of the folder of one γ: the shortest decimal number that reads back as γ, so that no two collide."""
    return f"{PREFIX}{repr(gamma).removesuffix('.0')}"


def run_path(options: SimpleNamespace) -> int:
    """Train for every γ, write folders and table, print, and return the exit code of the worst verdict.

    The options come as for ``run_train``; ``gammas`` are numbers, and with ``resume`` finished results are kept.
    """
    with contextlib.ExitStack() as held:
        return _Path(options, held).run()


class _Path:
    """One call of the command: the output folders and the report of each γ so far."""

    def __init__(self, options: SimpleNamespace, held: contextlib.ExitStack) -> None:
        self.started, self.options = began(), options
        self.failures: list[str] = []
        self.reports: dict[float, dict[str, Any]] = {}
        self.keepers: dict[float, Keeper] = {}
        options.gamma = options.gammas[0]
        training.check_options(options)
        split = self.split = load(training.recipe_of(options, options.data))
        self.programs = {gamma: training.program_of(split, options, gamma) for gamma in options.gammas}
        out = Path(options.out or f"runs/{split.name}")
        if options.resume is not None and not ((out / TABLE).is_file() or any(out.glob(f"{PREFIX}*/*"))):
            raise InputError(f"There is no path in {out} to go on with; look at its name, or leave --resume out.")
        self.out = held.enter_context(output_folder(out, files=(TABLE,)))
        files = (*training.FILES.values(), CHECKPOINT)
        self.folders = {
            gamma: held.enter_context(output_folder(out / folder_name(gamma), files=files, command="train"))
            for gamma in options.gammas
        }

    def run(self) -> int:
        """Train along the path; every result is on the disk as soon as it is there. Then write and show the table."""
        options, split = self.options, self.split
        tell(*training.sentences_about(split), quiet=options.quiet)
        known = {} if options.resume is None else self._finished()
        resume = {} if options.resume is None else self._checkpoints(known)
        limit = job_seconds(options.time_limit, self.started)
        with Live(enabled=not options.quiet, time_limit=limit) as live:
            found = train_path(
                split.X,
                split.Y,
                gammas=options.gammas,
                **training.objective_of(split, options),
                **training.as_asked(options, *training.RELAXING),
                time_limit=limit,
                progress=live,
                provenance=training.provenance(split),
                known=known,
                checkpoint=self._keeper,
                resume=resume,
                finished=self._write,
            )
        report, failure = deliver(self.out, {"table": TABLE}, self._report(found), {})
        # Folders that were made and hold nothing go.
        for folder in (*self.folders.values(), self.out):
            folder.discard()
        missing = ", ".join(f"{gamma:g}" for gamma in found.missing) or "none"
        return say(
            options,
            report,
            rows_table(_table(report, split.task == "classification", split.name)),
            [*(f"gamma {row['gamma']:g}: {summary(row)}" for row in report["results"]), *report["files"].values()],
            failure=failure,
            interrupted=f"Interrupted; finished γ were written, missing: {missing}.",
        )

    def _keeper(self, gamma: float) -> Keeper:
        notes = about(SimpleNamespace(**{**vars(self.options), "gamma": gamma}))
        keeper = self.keepers[gamma] = Keeper(self.folders[gamma].path / CHECKPOINT, notes)
        return keeper

    def _write(self, result: TrainingResult) -> None:
        gamma = result.program.gamma
        seconds = float(sum(result.stages.values()))
        report = training.job_report("train", result, self.split, training.stopped(result), seconds)
        report |= {"selection": None, "earlier_seconds": None}
        kept = self.reports.get(gamma, {}) if result.relaxation is None else {}
        report |= {name: kept.get(name) for name in _KEPT if kept}
        # A table of earlier results is not to stand beside new ones, should this run be killed.
        with contextlib.suppress(OSError):
            (self.out.path / TABLE).unlink()
        report, failure = deliver(self.folders[gamma], training.FILES, report, training.writers(self.split, result))
        self.reports[gamma] = report
        if failure is not None:
            self.failures.append(failure)
            tell(f"certnet: {failure}")
            if report["files"]:
                # What another γ improves later goes to the same place.
                self.folders[gamma] = OutputFolder(Path(report["files"]["report"]).parent, ())
        elif not result.interrupted and gamma in self.keepers:
            self.keepers[gamma].remove()

    def _finished(self) -> dict[float, TrainingResult]:
        """Results of an earlier run with the same recipe that need not be computed again; each is proved anew."""
        results = {}
        for gamma, program in self.programs.items():
            try:
                found = self._read(self.folders[gamma].path, program)
            except (OSError, InputError):
                continue
            if found is not None:
                results[gamma], self.reports[gamma] = found
                tell(f"γ = {gamma:g} is finished; its certificate was proved again.", quiet=self.options.quiet)
        return results

    def _read(self, folder: Path, program: TrainingProgram) -> tuple[TrainingResult, dict[str, Any]] | None:
        """A finished result and its report, or None when anything about them does not fit."""
        run = read_run(folder)
        certificate = read_certificate(folder / training.FILES["certificate"], Training)
        network, report = network_of(run), run.to_dict()
        fits = (
            number(report.get("seconds")) is not None
            and isinstance(report.get("rank"), int | None)
            and report.get("interrupted") is False
            and report.get("gamma") == program.gamma
            and program_fingerprint(program_of(certificate)) == program_fingerprint(program)
            and dict(certificate.provenance) == training.provenance(self.split)
        )
        if not fits or (proof := check(certificate)).verdict is not Verdict.PROVED:
            return None
        # Figures are shown only where the checker has confirmed them; the rest of a stored report is information.
        report |= {**head("train", proof, proof.reason), "versions": report.get("versions")}
        result = TrainingResult(program, certificate, proof)
        report |= evaluate(self.split, program, certificate.proofs[0]) | {"width": int(certificate.U.shape[1])}
        found, expected = network.arrays(), training.network_of(self.split, result).arrays()
        same = found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
        return (result, report) if same else None

    def _checkpoints(self, known: Mapping[float, TrainingResult]) -> dict[float, Checkpoint]:
        found = {}
        for gamma, program in self.programs.items():
            path = self.folders[gamma].path / CHECKPOINT
            if gamma not in known and path.is_file():
                try:
                    checkpoint = read_checkpoint(path)
                    if checkpoint.fingerprint == program_fingerprint(program):
                        found[gamma] = checkpoint
                except InputError as error:
                    tell(f"γ = {gamma:g} starts anew: {error}")
        return found

    def _report(self, found: PathResult) -> dict[str, Any]:
        """A row for each γ that has a result."""
        rows = [_row(self.reports[gamma]) for gamma in found.gammas if gamma in self.reports]
        chosen, best, verdicts = best_of(rows), None, [row["verdict"] for row in rows]
        if chosen is not None:
            place, score, value = chosen
            best = {"gamma": rows[place]["gamma"], "score": score, "validation": value}
        for row in rows:
            row["best"] = best is not None and row["gamma"] == best["gamma"]
        proved = verdicts.count(Verdict.PROVED)
        missing = f"; missing: {', '.join(f'{gamma:g}' for gamma in found.missing)}" if found.missing else ""
        return {
            **head("train", None, f"{proved} of {len(found.gammas)} weight decays are proved{missing}"),
            "verdict": min(verdicts, key=SEVERITY.index),
            "interrupted": found.interrupted,
            "gammas": list(found.gammas),
            "missing": list(found.missing),
            "best": best,
            "results": rows,
            "seconds": time.perf_counter() - self.started,
            "notes": [*self.split.notes, *self.failures],
        }


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    names = ("gamma", "verdict", "reason", "objective", "lower_bound", "gap", "interrupted", "rank", "width", "seconds")
    row: dict[str, Any] = {name: report.get(name) for name in names}
    row |= {name: report[name] for name in (*OF_CLASSES, *OF_NUMBERS) if name in report}
    written = report["files"].get("report")
    return {**row, "folder": None if written is None else str(Path(written).parent)}


def _table(report: Mapping[str, Any], by_class: bool, source: str) -> Table:
    name, title = ("accuracy", "accuracy") if by_class else ("r2", "R²")
    head = ("γ", "objective", "lower bound", "gap", "rank", "neurons", f"{title} train", "validation", "time")
    cells = tuple(
        (
            f"{row['gamma']:g}",
            *bounds(row),
            *(figure(row[count], 9) for count in ("rank", "width")),
            *(figure(row[name][part]) for part in ("train", "validation")),
            f"{row['seconds']:.1f} s",
        )
        for row in report["results"]
    )
    best = tuple(place for place, row in enumerate(report["results"]) if row["best"])
    return Table(f"{source}: {report['reason']}", head, cells, first_number=0, marked=best, note=BEST if best else "")
