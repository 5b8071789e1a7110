"""``certnet optimality``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from certificates.container import write_certificate
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.limits import began, job_seconds
from certnet.cli.report import finite, job_report
from certnet.cli.scores import evaluate
from certnet.cli.show import (
    NONE,
    Live,
    bound_rows,
    branching_row,
    down,
    figures_table,
    stderr_console,
    summary,
    time_rows,
    up,
)
from certnet.cli.train import OPEN, stored_recipe
from certnet.io import Recipe, Split, load, program_weights, read_network
from certnet.io.output import Writer, files_in, json_writer, output_folder, print_result, require_named
from certnet.jobs import optimality as _optimality
from certnet.jobs.closing import GLOBAL, closing_of
from certnet.jobs.optimality import Neuron, OptimalityResult
from formulations import InputError, TrainingProgram
from formulations._validation import as_positive

FILES = {"certificate": "optimality.cert", "report": "report.json"}


@dataclass(frozen=True, kw_only=True)
class OptimalityOptions:
    """The options of the command.

    Attributes:
        network: file of the network.
        recipe: how the data are made, with the source as the user wrote it.
        out: output folder; None stands for ``runs/optimality/<name of the data>``.
        train: look for a better network.
    """

    network: str
    recipe: Recipe
    gamma: float
    gap: float
    time_limit: float | None
    nodes: int | None
    workers: int
    scheduler: str | None
    train: bool
    out: str | None
    json: bool
    quiet: bool


def run_optimality(options: OptimalityOptions) -> int:
    """Prove how far a network is from optimal, write the two files, print, and return the exit code.

    Raises:
        InputError: anything a user can put right; nothing is left in the output folder then.
    """
    started = began()
    as_positive("gamma", options.gamma)
    closing_of(GLOBAL, options.gap, options.nodes, options.workers)
    require_named(options.out)
    network = read_network(options.network)
    split = load(options.recipe)
    weights = program_weights(
        network, offset=split.offset, scale=split.scale, bias=options.recipe.bias, classes=split.classes
    )
    if len(weights.V) != split.Y_train.shape[1]:
        raise InputError(
            f"The network has {len(weights.V)} outputs, but the targets have {split.Y_train.shape[1]} columns; give "
            "the targets it was trained on, for example as a matrix Y in an .npz file."
        )
    program = TrainingProgram(split.X_train, split.Y_train, options.gamma, bias=options.recipe.bias)
    console = stderr_console()
    notes = (*split.notes, *weights.notes)
    if not options.quiet:
        for note in notes:
            console.print(note, markup=False)
    out = Path(options.out or f"runs/optimality/{split.name}")
    with output_folder(out, files=tuple(FILES.values()), command="optimality") as folder:
        limit = job_seconds(options.time_limit, started)
        with Live(console, enabled=not options.quiet, time_limit=limit) as live:
            result = _optimality.optimality(
                program,
                weights.U,
                weights.V,
                gap=options.gap,
                time_limit=limit,
                max_nodes=options.nodes,
                workers=options.workers,
                scheduler=options.scheduler,
                train=options.train,
                random_state=options.recipe.seed,
                progress=live,
                provenance={"data": stored_recipe(options.recipe).to_json()},
            )
        remarks = (OPEN,) if result.search is not None and not result.search.complete else ()

        def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
            report = optimality_report(
                result,
                split,
                network=options.network,
                files=files_in(place, FILES),
                notes=(*notes, *result.notes, *remarks, *failures),
                seconds=time.perf_counter() - started,
            )
            return report, {
                FILES["certificate"]: lambda path: write_certificate(path, result.certificate),
                FILES["report"]: json_writer(report),
            }

        report, failure = folder.deliver(described)
    if not options.quiet:
        console.print(optimality_table(report))
        for note in remarks:
            console.print(note, markup=False)
    if result.interrupted:
        console.print("certnet: Interrupted; the best bound so far was written.", markup=False)
    if failure is not None:
        console.print(f"certnet: {failure}", markup=False, soft_wrap=True)
    print_result(report, [summary(report), *report["files"].values()], as_json=options.json)
    return Exit.INTERRUPTED if result.interrupted else BY_VERDICT[result.report.verdict]


def optimality_report(
    result: OptimalityResult,
    split: Split,
    *,
    network: str,
    files: Mapping[str, Path],
    notes: tuple[str, ...],
    seconds: float,
) -> dict[str, Any]:
    """The object that the command writes and prints."""
    trained = result.trained
    return {
        **job_report("optimality", result, split, files=files, notes=notes, seconds=seconds),
        "network": Path(network).name,
        "balanced_objective": finite(result.balanced_objective),
        "price_ratio": finite(result.price_ratio),
        "neuron": _neuron(result.neuron),
        "trained": None
        if trained is None
        else {"objective": finite(trained.objective), "width": int(trained.U.shape[1])},
        "bounds": {name: finite(bound) for name, bound in result.bounds.items()},
        **evaluate(split, result.U, result.V),
    }


def _neuron(neuron: Neuron | None) -> dict[str, Any] | None:
    if neuron is None:
        return None
    return {"decrease": finite(neuron.decrease), "u": neuron.u.tolist(), "v": neuron.v.tolist()}


def optimality_table(report: Mapping[str, Any]) -> Table:
    """What was proved, and what would lower the objective."""
    data = report["data"]
    title = f"{report['network']} on {data['name']}: n = {data['n']}, d = {data['d']}, c = {data['c']}"
    table = figures_table(f"{title}, m = {report['width']}, γ = {report['gamma']:g}")
    bound_rows(table, "objective of the network", report)
    for name, bound in report["bounds"].items():
        table.add_row(escape(f"bound: {name}"), down(bound))
    table.add_row("after rescaling neurons", up(report["balanced_objective"]))
    ratio, neuron, trained = report["price_ratio"], report["neuron"], report["trained"]
    table.add_row("largest price over γ", NONE if ratio is None else f"{ratio:.6g}")
    if neuron is not None:
        table.add_row("one more neuron gains", f"{neuron['decrease']:.6g}")
    if trained is not None:
        table.add_row("global training reaches", f"{up(trained['objective'])} with {trained['width']} neurons")
    branching_row(table, report["branching"])
    if data["task"] == "classification":
        shown = (NONE if value is None else f"{value:.4g}" for value in report["accuracy"].values())
        table.add_row(f"accuracy on {', '.join(report['accuracy'])}", ", ".join(shown))
    time_rows(table, report)
    table.add_row("verdict", escape(f"{report['verdict']} - {report['reason']}"))
    return table
