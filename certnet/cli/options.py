"""Options that several commands have, each with its help text."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Norm = Literal["linf", "l2"]
Semantics = Annotated[
    Literal["real", "float32"],
    typer.Option(help="Decide for real arithmetic, or for every evaluation in float32; weights must be float32."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")]
Target = Annotated[str | None, typer.Option(help="Target column of a table; the last one by default.")]
Features = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns of a table that are inputs; by default all that look useful."),
]
Drop = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns of a table that are no inputs.")]
Categorical = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Columns of a table whose numbers are names, such as codes.")
]
Impute = Annotated[
    Literal["median", "mean", "most-frequent", "none"],
    typer.Option(help="What missing values of a table count as, by the training rows; none refuses them."),
]
Task = Annotated[
    Literal["classification", "regression"] | None,
    typer.Option(help="What the targets are; else text and few whole numbers are classes, others quantities."),
]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split and of everything random.")]
Bias = Literal["none", "penalised", "free"]
Loss = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Loss: squared, cross-entropy, logistic, hinge, squared-hinge, huber:DELTA, absolute, quantile:TAU or "
        "poisson; auto is logistic for two classes, cross-entropy for more, squared for numbers.",
    ),
]
HiddenBias = Annotated[Bias, typer.Option(help="Bias of the hidden neurons: penalised like weights, or free.")]
OutputBias = Annotated[Bias, typer.Option(help="Bias of the outputs, likewise.")]
NoBias = Annotated[bool, typer.Option("--no-bias", help="Neither of the biases.")]
ClassWeight = Annotated[Literal["balanced"] | None, typer.Option(help="Weigh rows so that every class counts as much.")]
WeightColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of a table with the weight of each row in the loss.")
]
NoFeature = Annotated[
    str | None, typer.Option("--weight-column", metavar="NAME", help="Column of a table with weights: no feature.")
]
Solver = Annotated[str, typer.Option(help="Solver of the relaxation; see certnet doctor.")]
JobLimit = Annotated[
    float, typer.Option(help="Seconds for the whole job; 0 for no limit. More time gives a better bound.")
]
Nodes = Annotated[int | None, typer.Option(help="Most relaxations that branching may solve.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that may be used.")]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Most threads of this process; else as many as pay.")
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to use instead.")
]
Rows = Annotated[str | None, typer.Option(metavar="A:B", help="Of the data, rows A to B-1; all by default.")]
Circuits = Annotated[
    bool,
    typer.Option(
        "--circuits",
        help="Let relaxations use circuit inequalities: tighter, slower, rarely worth it, never resumed.",
    ),
]


def run_names(incomplete: str) -> list[str]:
    """For the shell: names of the runs here that begin so."""
    from certnet.io.runs import runs_here

    return [name for name in runs_here() if name.startswith(incomplete)]


Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        autocompletion=run_names,
        help="A run's folder or its name in runs, whose treatment of data then holds too; or a two-layer ReLU network: "
        ".onnx, .npz or .safetensors.",
    ),
]


Data = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="As for certnet train; by default what the run was trained on."),
]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        autocompletion=run_names,
        help="Folders of runs, or their names in runs; of a path, all of it.",
    ),
]


def given_names(context: typer.Context) -> set[str]:
    """Names of the parameters that are on the command line, and not left at their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def out_folder(default: str) -> Any:
    """The option that names the output folder."""
    return typer.Option(metavar="FOLDER", help=f"Output folder; {default} by default.")
