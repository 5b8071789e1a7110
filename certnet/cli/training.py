"""``certnet train`` for one γ, and what its runs share with those of ``--gammas`` and of ``certnet optimality``."""

import contextlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from certificates import write_certificate
from certificates.findings import finite
from certnet.cli.limits import at_least, began, column_names, job_seconds
from certnet.cli.output import deliver, head, say
from certnet.cli.resuming import CHECKPOINT, EARLIER, LISTS, Keeper, about, with_earlier
from certnet.cli.scores import Judged, evaluate
from certnet.cli.show import Live, job_table, summary, tell
from certnet.io.dataset import Recipe, Split
from certnet.io.load_data import load
from certnet.io.network import TwoLayerNetwork
from certnet.io.output import Writer, output_folder, require_named
from certnet.io.packed import json_object
from certnet.jobs import selection
from certnet.jobs import train as job
from certnet.jobs.checkpoint import program_fingerprint
from certnet.jobs.job import DEFAULT_GAP, SDP, closing_of
from certnet.jobs.results import Certified
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS, first_of, mapping, number
from certnet.search.cone_closing import LARGEST_DIMENSION
from certnet.solvers import SolveStatus
from certnet.solvers.arrays import require_device
from certnet.solvers.registry import AUTO, get_solver
from formulations import InputError, TrainingProgram
from formulations._validation import as_positive

STOPPED = "The relaxation stopped at the time limit; more --time-limit may give a better bound."
OPEN = "Branching ended before it had proved a gap of {gap:g}; more --time-limit or --nodes may do."
RELAXING = ("solver", "tolerance", "device", "threads", "random_state")
BRANCHING = ("workers", "scheduler", "circuits", "max_nodes")
"""Arguments of a job that relaxes, and of one that branches."""
FINISHING = 3.0  # Seconds for a network and a bound where Ctrl-C came before there was a weight decay.
FILES = {"network": "network.npz", "certificate": "optimality.cert", "report": "report.json"}
MOST_COLUMNS = 25  # Lines about columns on stderr.


def run_train(options: SimpleNamespace) -> int:
    """Train, write the three files, print, and return the exit code. After an InputError no file is left.

    The options of the command come by their names, with ``source``, where the data are read, and ``checkpoint``, the
    one to go on from.
    """
    started = began()
    check_options(options)
    split = load(recipe_of(options, options.source))
    split = replace(split, recipe=replace(split.recipe, source=options.data))
    program = program_of(split, options, options.gamma or 1.0)
    resume, gap = options.checkpoint, options.gap
    if resume is not None and program_fingerprint(program) != resume.fingerprint:
        raise InputError(
            f"{options.data} no longer holds the data of the checkpoint; bring those back, or train anew without "
            "--resume."
        )
    few = program.shape[1] <= LARGEST_DIMENSION
    if gap is None and options.method == SDP and (few or options.time_limit is not None):
        # What time is left goes to the gap; without a limit only in few dimensions, where minutes are enough.
        gap = DEFAULT_GAP
    tell(*sentences_about(split), quiet=options.quiet)
    # By default files of one name in two places would share a folder.
    out, own = Path(options.out or f"runs/{split.name}"), None if options.out else options.data
    with output_folder(out, files=(*FILES.values(), CHECKPOINT), command="train", source=own) as folder:
        limit = job_seconds(options.time_limit, started)
        starting = time.perf_counter() - started
        with Live(enabled=not options.quiet, time_limit=limit) as live:
            chosen = None
            if options.gamma is None:
                X, Y = split.X_val, split.Y_val
                # By the validation rows, or where there are none by folds of the training rows.
                chosen = selection.select_gamma(
                    split.X,
                    split.Y,
                    **objective_of(split, options),
                    validation=None if X is None or Y is None else (X, Y, split.weight_val),
                    time_limit=None if limit is None else selection.SHARE * limit,
                    random_state=options.seed,
                    progress=live,
                )
                program = program_of(split, options, chosen.gamma)
                options = SimpleNamespace(**{**vars(options), "gamma": chosen.gamma})
                limit = None if limit is None else at_least(limit - chosen.seconds, limit)
                if chosen.interrupted:
                    limit = min(FINISHING, limit or FINISHING)
            keeper = Keeper(folder.path / CHECKPOINT, about(options))
            result = job.train(
                program,
                time_limit=limit,
                progress=live,
                provenance=provenance(split),
                checkpoint=keeper,
                resume=resume,
                start_network=None if chosen is None else chosen.network,
                gap=gap,
                **as_asked(options, "method", *RELAXING, *BRANCHING),
            )
        if resume is not None:
            result = with_earlier(result, folder.path / FILES["certificate"])
        if chosen is not None:
            stages = {selection.STAGE: chosen.seconds, **result.stages}
            result = replace(result, stages=stages, interrupted=result.interrupted or chosen.interrupted)
        remarks = [*stopped(result), *([chosen.remark] if chosen is not None and chosen.remark else [])]
        if options.time_limit is not None and starting > 0.5 * options.time_limit:
            remarks.append(
                f"Starting and reading the data took {starting:.0f} of the {options.time_limit:g} seconds, as on a "
                "busy machine or the first time; a longer --time-limit gives more."
            )
        if result.search and not result.search.complete:
            remarks.append(OPEN.format(gap=DEFAULT_GAP if gap is None else gap))
        if result.resumable and keeper.size:
            from rich.filesize import decimal

            remarks.append(
                f"{keeper.path} ({decimal(keeper.size)}) keeps where it stood; go on with: "
                f"certnet train --resume {shlex.quote(str(keeper.path.parent))} --time-limit SECONDS"
            )
        judged = None if chosen is None else chosen.judged
        known = job_report("train", result, split, remarks, time.perf_counter() - started, judged)
        known["selection"] = None if chosen is None else chosen.to_dict()
        known["earlier_seconds"] = None if resume is None else finite(resume.seconds)
        if resume is not None:
            keep_choice(known, folder.path / FILES["report"])
        report, failure = deliver(folder, FILES, known, writers(split, result))
        if not result.resumable and failure is None:
            keeper.remove()
        if resume is None and failure is None:
            with contextlib.suppress(OSError):
                (folder.path / EARLIER).unlink()
    return say_job(options, report, remarks, failure, "network and bound so far were")


def say_job(
    shown: SimpleNamespace, report: Mapping[str, Any], remarks: Sequence[str], failure: str | None, best: str
) -> int:
    """Print what a job that ends in a certificate of optimality found; the exit code."""
    return say(
        shown,
        report,
        job_table(report),
        [summary(report), *report["files"].values()],
        remarks=remarks,
        failure=failure,
        interrupted=f"Interrupted; the best {best} written.",
    )


def keep_choice(known: dict[str, Any], path: Path) -> None:
    """Take over the choice of γ from the report of the part before, and scores on rows that only the choice judged."""
    earlier: dict[str, Any] = {}
    with contextlib.suppress(InputError):
        earlier = json_object(path)
    chosen = mapping(earlier.get("selection"))
    if number(chosen.get("gamma")) == known["gamma"]:
        known["selection"], by_folds = chosen, known["data"]["rows"]["validation"] is None
        for name in {*OF_CLASSES, *OF_NUMBERS} & known.keys() if by_folds else ():
            known[name]["validation"] = number(mapping(earlier.get(name)).get("validation"))


def check_options(options: SimpleNamespace) -> None:
    """Refuse options that no job can run with."""
    if options.gamma is not None:
        as_positive("gamma", options.gamma)
    as_positive("tolerance", options.tolerance)
    require_device(options.device)
    gap = DEFAULT_GAP if options.gap is None else options.gap
    closing_of(options.method, gap, options.nodes, options.workers, options.scheduler)
    require_named(options.out)
    if options.solver != AUTO:
        get_solver(options.solver)


def as_asked(options: SimpleNamespace, *names: str) -> dict[str, Any]:
    """These arguments of a job, which the options have under the same names or the ones that users know."""
    known = {"random_state": "seed", "max_nodes": "nodes"}
    return {name: getattr(options, known.get(name, name)) for name in names}


def recipe_of(options: SimpleNamespace, source: str) -> Recipe:
    """How the data are made."""
    names = ("target", "task", "seed", "raw", "loss", "class_weight", "weight_column", "impute", "refit", *LISTS)
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    lists = {name: column_names(given[name], f"--{name}") for name in LISTS if name in given}
    return Recipe(source=source, split=not options.no_split, **given | lists)


def sentences_about(split: Split) -> tuple[str, ...]:
    """What was done to the columns of a table, and what else a user should know of the data."""
    recipe = () if split.columns is None else split.columns.sentences()
    return (*first_of(recipe, MOST_COLUMNS, "columns"), *split.notes)


def program_of(split: Split, options: SimpleNamespace, gamma: float) -> TrainingProgram:
    return TrainingProgram(split.X, split.Y, gamma, **objective_of(split, options))


def objective_of(split: Split, options: SimpleNamespace) -> dict[str, Any]:
    """What a training problem minimises besides the decay."""
    given = {"loss": split.recipe.loss, "sample_weight": split.sample_weight}
    return {**given, "hidden_bias": options.hidden_bias, "output_bias": options.output_bias}


def provenance(split: Split) -> dict[str, Any]:
    """The recipe without the folders of the machine it was used on."""
    return {"data": {**split.recipe.to_json(), "source": Path(split.recipe.source).name}}


def stopped(result: job.TrainingResult) -> list[str]:
    """A remark where the time limit ended the relaxation."""
    late = result.relaxation is not None and result.relaxation.status is SolveStatus.TIME_LIMIT
    return [STOPPED] if late and result.resumable else []


def writers(split: Split, result: job.TrainingResult) -> dict[str, Writer]:
    return {
        FILES["network"]: network_of(split, result).save,
        FILES["certificate"]: lambda path: write_certificate(path, result.certificate),
    }


def network_of(split: Split, result: job.TrainingResult) -> TwoLayerNetwork:
    """The network for raw features: standardisation is part of it."""
    raw = split.recipe.raw
    offset, scale = (None, None) if raw else (split.offset, split.scale)
    return TwoLayerNetwork(result.network, offset=offset, scale=scale, classes=split.classes, columns=split.columns)


def job_report(
    command: str, result: Certified, split: Split, notes: Sequence[str], seconds: float, judged: Judged | None = None
) -> dict[str, Any]:
    """The fields of every job that ends in a certificate of optimality; ``judged`` as for ``evaluate``."""
    from certnet.jobs.predictions import prediction_range, sentences

    own, columns = result.to_dict(), split.columns
    return {
        **head(command, result.report, result.report.reason),
        **own,
        "data": {
            "name": split.name,
            "source": split.recipe.source,
            "task": split.task,
            **own["data"],
            "rows": {name: None if X is None else len(X) for name, X, _ in split.parts()},
            "target": None if columns is None else columns.target,
            "classes": None if split.classes is None else list(split.classes),
            "features": list(split.feature_names),
            "columns": [] if columns is None else list(columns.sentences()),
            "standardised": not split.recipe.raw,
            "seed": split.recipe.seed,
            "recipe": split.recipe.to_json(),
        },
        "seconds": seconds,
        "notes": [*split.notes, *result.notes, *notes],
        "predictions": list(sentences(prediction_range(result.certificate, result.report))),
        **evaluate(split, result.program, result.certificate.proofs[0], judged),
    }
