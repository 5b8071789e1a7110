"""Options that several commands have, each with its help text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import click
from click.shell_completion import CompletionItem

from certnet.cli.parsing import argument, files, option

Norm = Literal["linf", "l2"]
Semantics = Annotated[
    Literal["real", "float32"],
    option(help="Decide for real arithmetic, or for every evaluation in float32; weights must be float32."),
]
Json = Annotated[bool, option("--json", help="Print one JSON object on stdout and nothing else there.")]
Target = Annotated[str | None, option(help="Target column of a table; the last one by default.")]
Drop = Annotated[str | None, option(metavar="A,B,...", help="Columns of a table that are no inputs.")]
Task = Annotated[
    Literal["classification", "regression"] | None,
    option(help="What the targets are; else text and few whole numbers are classes, others quantities."),
]
Seed = Annotated[int, option(least=0, help="Seed of everything random.")]
SplitSeed = Annotated[int, option(least=0, help="Seed of the split and of everything random.")]
Bias = Literal["none", "penalised", "free"]
ClassWeight = Annotated[Literal["balanced"] | None, option(help="Weigh rows so that every class counts as much.")]
WeightColumn = Annotated[
    str | None, option(metavar="NAME", help="Column of a table with the weight of each row in the loss.")
]
Solver = Annotated[str, option(help="Solver of the relaxation; see certnet doctor.")]
JobLimit = Annotated[float, option(help="Seconds for the whole job; 0 for no limit. More time gives a better bound.")]
Workers = Annotated[int, option(least=1, help="Processes that may be used.")]
Scheduler = Annotated[str | None, option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to use instead.")]
Rows = Annotated[str | None, option(metavar="A:B", help="Of the data, rows A to B-1; all by default.")]


@dataclass(frozen=True)
class Columns:
    """Of data that a network is asked about."""

    target: Target = None
    weight_column: Annotated[str | None, option(metavar="NAME", help="Column of a table with weights: no feature.")] = (
        None
    )
    drop: Drop = None


NO_COLUMNS = Columns()


@dataclass(frozen=True)
class Around:
    """Of data around whose rows something is asked."""

    radius: Annotated[float | None, option(help="With data: how far around each row, 0 or more.")] = None
    norm: Annotated[
        Norm | None, option(help="With --radius: in which norm; by default linf, of certnet lipschitz l2.")
    ] = None
    rows: Rows = None
    columns: Columns = NO_COLUMNS


def run_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: names of the runs here that begin so, and else files."""
    from certnet.io.runs import runs_here

    names = [CompletionItem(name) for name in runs_here() if name.startswith(incomplete)]
    return [*files(context, parameter, incomplete), *names]


Network = Annotated[
    str,
    argument(
        metavar="NETWORK",
        shell_complete=run_names,
        help="A run's folder or its name in runs, whose treatment of data then holds too; or a two-layer ReLU network: "
        ".onnx, .npz or .safetensors.",
    ),
]
Data = Annotated[
    str | None, argument(metavar="DATA", help="As for certnet train; by default what the run was trained on.")
]
Runs = Annotated[
    list[Path],
    argument(
        metavar="RUN...",
        shell_complete=run_names,
        help="Folders of runs, or their names in runs; of a path, all of it.",
    ),
]


def out_folder(default: str) -> Any:
    """The option that names the output folder."""
    return option(metavar="FOLDER", help=f"Output folder; {default} by default.")


@dataclass(frozen=True)
class Shown:
    """What people see."""

    json: Json = False
    quiet: Annotated[bool, option("--quiet", "-q", help="No progress and no table on stderr.")] = False


@dataclass(frozen=True)
class Branching:
    """How relaxations are branched on."""

    nodes: Annotated[int | None, option(help="Most relaxations that branching may solve.")] = None
    workers: Workers = 1
    threads: Annotated[
        int | None, option(least=1, metavar="N", help="Most threads of this process; else as many as pay.")
    ] = None
    scheduler: Scheduler = None
    circuits: Annotated[
        bool,
        option(
            help="Let relaxations use circuit inequalities: tighter, slower, rarely worth it, never resumed.",
        ),
    ] = False
