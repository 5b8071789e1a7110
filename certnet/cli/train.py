"""``certnet train``."""

import contextlib
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certificates import write_certificate
from certnet.cli.limits import began, job_seconds
from certnet.cli.output import BY_VERDICT, Exit
from certnet.cli.report import training_report
from certnet.cli.resume import CHECKPOINT, about, require_same_data
from certnet.cli.scores import evaluate
from certnet.cli.show import Live, stderr_console, summary, training_table
from certnet.io import Recipe, Split, load
from certnet.io.network import TwoLayerNetwork
from certnet.io.output import Writer, files_in, json_writer, output_folder, print_result, require_named
from certnet.jobs import train as job
from certnet.jobs.checkpoint import Checkpoint, write_checkpoint
from certnet.search.cone_closing import LARGEST_DIMENSION
from certnet.solvers import SolveStatus
from certnet.solvers.arrays import require_device
from certnet.solvers.registry import AUTO, get_solver
from formulations import TrainingProgram
from formulations._validation import as_positive


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of the command.

    Attributes:
        recipe: how the data are made, with the source as the user wrote it.
        source: where to read the data if that is not what ``recipe.source`` says; never shown.
        out: output folder; None stands for ``runs/<name of the data>``.
        resume: the checkpoint to go on from.
    """

    recipe: Recipe
    gamma: float
    solver: str
    time_limit: float | None
    tolerance: float
    out: str | None
    json: bool
    quiet: bool
    device: str = "cpu"
    source: str | None = None
    resume: Checkpoint | None = None
    method: str = job.SDP
    gap: float | None = None
    nodes: int | None = None
    workers: int = 1
    scheduler: str | None = None


def run_train(options: TrainOptions) -> int:
    """Train, write the three files, print, and return the exit code. Everything is validated before the work.

    Raises:
        InputError: anything a user can put right; nothing is left in the output folder then.
    """
    started = began()
    check_options(options)
    split = load(replace(options.recipe, source=options.source or options.recipe.source))
    split = replace(split, recipe=options.recipe)
    program = TrainingProgram(split.X_train, split.Y_train, options.gamma, bias=options.recipe.bias)
    require_same_data(program, options)
    console = stderr_console()
    if not options.quiet:
        for note in split.notes:
            console.print(note, markup=False)
    out = Path(options.out or f"runs/{split.name}")
    with output_folder(out, files=(*FILES.values(), CHECKPOINT), command="train") as folder:
        keeper = Keeper(folder.path / CHECKPOINT, about(options))
        limit = job_seconds(options.time_limit, started)
        with Live(console, enabled=not options.quiet, time_limit=limit) as live:
            result = job.train(
                program,
                solver=options.solver,
                time_limit=limit,
                tolerance=options.tolerance,
                random_state=options.recipe.seed,
                progress=live,
                provenance={"data": stored_recipe(options.recipe).to_json()},
                device=options.device,
                checkpoint=keeper,
                resume=options.resume,
                method=options.method,
                gap=gap_of(options, program),
                max_nodes=options.nodes,
                workers=options.workers,
                scheduler=options.scheduler,
            )
        remarks = _remarks(result, keeper, is_asked=options.gap is not None or options.method != job.SDP)
        scores = evaluate(split, result.U, result.V)

        def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
            report = training_report(
                result,
                split,
                scores=scores,
                files=files_in(place, FILES),
                notes=(*split.notes, *result.notes, *remarks, *failures),
                seconds=time.perf_counter() - started,
                earlier_seconds=None if options.resume is None else options.resume.seconds,
            )
            return report, writers(split, result, report)

        report, failure = folder.deliver(described)
        if not result.resumable and failure is None:
            keeper.remove()
    if not options.quiet:
        console.print(training_table(report))
        for note in remarks:
            console.print(note, markup=False)
    if result.interrupted:
        console.print("certnet: Interrupted; the best network and bound so far were written.", markup=False)
    if failure is not None:
        console.print(f"certnet: {failure}", markup=False, soft_wrap=True)
    print_result(report, [summary(report), *report["files"].values()], as_json=options.json)
    return Exit.INTERRUPTED if result.interrupted else BY_VERDICT[result.report.verdict]


STOPPED = "The relaxation stopped at the time limit; more --time-limit may give a better bound."
OPEN = "Branching ended before it had proved the gap that was asked for; more --time-limit or --nodes may do."
FILES = {"network": "network.npz", "certificate": "optimality.cert", "report": "report.json"}


def gap_of(options: TrainOptions, program: TrainingProgram) -> float | None:
    """The gap to prove. In few dimensions that takes seconds, so it is done unasked; a gap of 0.9 prevents it."""
    if options.gap is None and options.method == job.SDP and program.shape[1] <= LARGEST_DIMENSION:
        return job.DEFAULT_GAP
    return options.gap


def check_options(options: TrainOptions) -> None:
    """Refuse options that no job can run with.

    Raises:
        InputError: naming the first of them.
    """
    as_positive("gamma", options.gamma)
    as_positive("tolerance", options.tolerance)
    require_device(options.device)
    job.closing_of(options.method, options.gap, options.nodes, options.workers)
    require_named(options.out)
    if options.solver != AUTO:
        get_solver(options.solver)


def _remarks(result: job.TrainingResult, keeper: "Keeper", *, is_asked: bool) -> tuple[str, ...]:
    """What the user should know of how the run ended; ``is_asked`` tells whether a gap was asked for."""
    stopped = result.relaxation is not None and result.relaxation.status is SolveStatus.TIME_LIMIT
    remarks = [STOPPED] if stopped else []
    if is_asked and result.search is not None and not result.search.complete:
        remarks.append(OPEN)
    if result.resumable and keeper.size:
        remarks.append(
            f"{keeper.path} ({keeper.size / 1e6:.1f} MB) keeps where it stood; go on with: "
            f"certnet train --resume {shlex.quote(str(keeper.path.parent))} --time-limit SECONDS"
        )
    return tuple(remarks)


class Keeper:
    """Writes the checkpoints of a job, with what the command line needs to go on.

    Attributes:
        path: the file.
        size: bytes of the last checkpoint that this job wrote, 0 before the first.
    """

    def __init__(self, path: Path, notes: Mapping[str, Any]) -> None:
        self.path, self._notes = path, notes
        self.size = 0

    def __call__(self, checkpoint: Checkpoint) -> None:
        write_checkpoint(self.path, replace(checkpoint, about=self._notes))
        self.size = self.path.stat().st_size

    def remove(self) -> None:
        """Remove the file, also one of an earlier job; a file that stays in spite of this does no harm."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def stored_recipe(recipe: Recipe) -> Recipe:
    """The recipe without the folders of the machine it was used on."""
    return Recipe(**{**recipe.to_json(), "source": Path(recipe.source).name})


def writers(split: Split, result: job.TrainingResult, report: Mapping[str, Any]) -> dict[str, Writer]:
    """What writes the three files of a result."""
    return {
        FILES["network"]: network_of(split, result).save,
        FILES["certificate"]: lambda path: write_certificate(path, result.certificate),
        FILES["report"]: json_writer(report),
    }


def network_of(split: Split, result: job.TrainingResult) -> TwoLayerNetwork:
    """The network for raw features: standardisation is part of it."""
    raw = split.recipe.raw
    return TwoLayerNetwork.from_program(
        result.U,
        result.V,
        bias=split.recipe.bias,
        offset=None if raw else split.offset,
        scale=None if raw else split.scale,
        classes=split.classes,
    )
