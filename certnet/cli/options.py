"""Options that several commands have, each with its help text."""

from dataclasses import dataclass
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem

from certnet.cli.parsing import argument, files, option

Norm = Literal["linf", "l2"]
Bias = Literal["none", "penalised", "free"]
Semantics = Literal["real", "float32"]
Task = Literal["classification", "regression"]
SEMANTICS = option(
    "Decide for real arithmetic, or for every evaluation in float32; weights must be float32.", default="real"
)
JSON = option("Print one JSON object on stdout and nothing else there.", "--json", default=False)
TARGET = option("Target column of a table; the last one by default.")
DROP = option("Columns of a table that are no inputs.", metavar="A,B,...")
TASK = option("What the targets are; else text and few whole numbers are classes, others quantities.")
SEED = option("Seed of everything random.", default=0, least=0)
SPLIT_SEED = option("Seed of the split and of everything random.", default=0, least=0)
CLASS_WEIGHT = option("Weigh rows so that every class counts as much.")
WEIGHT_COLUMN = option("Column of a table with the weight of each row in the loss.", metavar="NAME")
SOLVER = option("Solver of the relaxation; see certnet doctor.", default="auto")
JOB_LIMIT = option("Seconds for the whole job; 0 for no limit. More time gives a better bound.", default=50.0)
WORKERS = option("Processes that may be used.", default=1, least=1)
SCHEDULER = option("Dask scheduler, tcp://HOST:PORT, to use instead.", metavar="ADDRESS")
ROWS = option("Of the data, rows A to B-1; all by default.", metavar="A:B")


@dataclass(frozen=True)
class Columns:
    """Of data that a network is asked about."""

    target: str | None = TARGET
    weight_column: str | None = option("Column of a table with weights: no feature.", metavar="NAME")
    drop: str | None = DROP


@dataclass(frozen=True, kw_only=True)
class Around:
    """Of data around whose rows something is asked."""

    radius: float | None = option("With data: how far around each row, 0 or more.")
    norm: Norm | None = option("With --radius: in which norm; by default linf, of certnet lipschitz l2.")
    rows: str | None = ROWS
    columns: Columns


def run_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: names of the runs here that begin so, and else files."""
    from certnet.io.runs import runs_here

    names = [CompletionItem(name) for name in runs_here() if name.startswith(incomplete)]
    return [*files(context, parameter, incomplete), *names]


NETWORK = argument(
    "NETWORK",
    "A run's folder or its name in runs, whose treatment of data then holds too; or a two-layer ReLU network: "
    ".onnx, .npz or .safetensors.",
    shell_complete=run_names,
)
DATA = argument("DATA", "As for certnet train; by default what the run was trained on.", required=False)
RUNS = argument("RUN...", "Folders of runs, or their names in runs; of a path, all of it.", shell_complete=run_names)


def out_folder(default: str) -> Any:
    return option(f"Output folder; {default} by default.", metavar="FOLDER")


@dataclass(frozen=True)
class Shown:
    """What people see."""

    json: bool = JSON
    quiet: bool = option("No progress and no table on stderr.", "--quiet", "-q", default=False)


@dataclass(frozen=True)
class Branching:
    """How relaxations are branched on."""

    nodes: int | None = option("Most relaxations that branching may solve.")
    workers: int = WORKERS
    threads: int | None = option("Most threads of this process; else as many as pay.", least=1, metavar="N")
    scheduler: str | None = SCHEDULER
    circuits: bool = option(
        "Let relaxations use circuit inequalities: tighter, slower, rarely worth it, never resumed.", default=False
    )
