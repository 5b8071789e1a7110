"""``certnet train``."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certificates.container import write_certificate
from certnet import job
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.report import training_report
from certnet.cli.scores import evaluate
from certnet.cli.show import Live, stderr_console, summary, training_table
from certnet.data import Recipe, Split, load
from certnet.network import TwoLayerNetwork
from certnet.output import OutputFolder, json_writer, standard_output, strict_json
from certnet.solvers import SolveStatus, available_solvers
from formulations import InputError, TrainingProgram
from formulations._validation import as_positive


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of the command; ``out`` None stands for ``runs/<name of the data>``."""

    recipe: Recipe
    gamma: float
    solver: str
    time_limit: float | None
    tolerance: float
    out: str | None
    json: bool
    quiet: bool


def run_train(options: TrainOptions) -> int:
    """Train, write the three files, print, and return the exit code. Everything is validated before the work.

    Raises:
        InputError: anything a user can put right; nothing is left in the output folder then.
    """
    started = time.perf_counter()
    _check_options(options)
    split = load(options.recipe)
    program = TrainingProgram(split.X_train, split.Y_train, options.gamma, bias=options.recipe.bias)
    console = stderr_console()
    if not options.quiet:
        for note in split.notes:
            console.print(note, markup=False)
    with _output(_folder(options.out, split.name)) as folder:
        with Live(console, enabled=not options.quiet) as live:
            result = job.train(
                program,
                solver=options.solver,
                time_limit=options.time_limit,
                tolerance=options.tolerance,
                random_state=options.recipe.seed,
                progress=live,
                provenance={"data": _stored(options.recipe).to_json()},
            )
        files = {name: folder.path / file for name, file in FILES.items()}
        report = training_report(
            result,
            split,
            scores=evaluate(split, result.U, result.V),
            files=files,
            notes=_notes(result, split),
            seconds=time.perf_counter() - started,
        )
        network = _network(split, result)
        folder.write(
            {
                FILES["network"]: network.save,
                FILES["certificate"]: lambda path: write_certificate(path, result.certificate),
                FILES["report"]: json_writer(report),
            }
        )
    if not options.quiet:
        console.print(training_table(report))
        for note in _notes(result, split)[len(split.notes) :]:
            console.print(note, markup=False)
    if result.interrupted:
        console.print("certnet: Interrupted; the best network and bound so far were written.", markup=False)
    text = strict_json(report) if options.json else "\n".join([summary(report), *map(str, files.values())])
    with standard_output():
        sys.stdout.write(text + "\n")
    return Exit.INTERRUPTED if result.interrupted else BY_VERDICT[result.report.verdict]


STOPPED = "The relaxation stopped at the time limit; more --time-limit may give a better bound."
FILES = {"network": "network.npz", "certificate": "optimality.cert", "report": "report.json"}


def _check_options(options: TrainOptions) -> None:
    as_positive("gamma", options.gamma)
    as_positive("tolerance", options.tolerance)
    if options.out is not None and not options.out.strip():
        raise InputError("--out names no folder; give one, or leave --out away for runs/NAME.")
    if options.solver == "auto":
        return
    solvers = available_solvers()
    if options.solver not in solvers:
        raise InputError(f"There is no solver {options.solver!r}; choose auto or one of {', '.join(solvers)}.")
    reason = solvers[options.solver]
    if reason is not None:
        raise InputError(reason)


def _folder(out: str | None, name: str) -> Path:
    if out is None:
        return Path("runs") / name
    return Path(out)


def _notes(result: job.TrainingResult, split: Split) -> tuple[str, ...]:
    """What the user should know of data and run."""
    if result.relaxation is not None and result.relaxation.status is SolveStatus.TIME_LIMIT:
        return (*split.notes, STOPPED)
    return split.notes


def _stored(recipe: Recipe) -> Recipe:
    """The recipe without the folders of the machine it was used on."""
    return Recipe(**{**recipe.to_json(), "source": Path(recipe.source).name})


def _network(split: Split, result: job.TrainingResult) -> TwoLayerNetwork:
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


@contextmanager
def _output(path: Path) -> Iterator[OutputFolder]:
    """A tested output folder, removed again if it was new and nothing was written."""
    folder = OutputFolder.prepare(path, files=tuple(FILES.values()))
    try:
        yield folder
    except BaseException:
        folder.discard()
        raise
