"""``certnet optimality`` and ``tightness``: how good a network is, and how tight the relaxation behind a run."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import click

from certnet.cli import options as common
from certnet.cli.limits import began, job_seconds, seconds_or_none
from certnet.cli.parsing import argument, given_names, option

FILES = {"certificate": "optimality.cert", "report": "report.json"}
TORCH = "In PyTorch's terms, whose weight_decay λ adds λ/2·(sum of squared parameters) to the loss"
SHOWN_VALUES = 8  # Eigenvalues in the table.


def optimality(
    context: click.Context,
    network: str = argument(
        "NETWORK",
        "A run's folder, whose objective and treatment of data then hold too; or a two-layer ReLU network: "
        ".npz of certnet's or with U (d×m), V (c×m) and optionally b (m), .onnx, or "
        ".safetensors of a PyTorch state with two Linear layers.",
        shell_complete=common.run_names,
    ),
    data: str | None = common.DATA,
    *,
    loss: str | None = option(
        "The loss, a sum over rows: squared, cross-entropy, logistic, hinge, squared-hinge, huber:DELTA, "
        "absolute, quantile:TAU, poisson. By default squared for numbers, cross-entropy for classes, logistic for "
        "one output.",
        metavar="NAME",
    ),
    gamma: float | None = option("Weight decay γ of (sum of the loss) + γ/2·(sum of squared weights)."),
    torch_loss: str | None = option(
        f"{TORCH}: cross_entropy, bce_with_logits, soft_margin, mse, l1, huber:DELTA, smooth_l1:BETA, "
        "poisson_nll. γ is worked out and printed; for AdamW, which minimises no objective, give --gamma as well.",
        metavar="NAME",
    ),
    reduction: Literal["mean", "sum"] = option("Of --torch-loss.", default="mean"),
    weight_decay: float | None = option("λ of --torch-loss."),
    optimizer: str | None = option("Of --torch-loss; SGD and Adam agree.", metavar="NAME"),
    hidden_bias: common.Bias | None = option(
        "Where it has one, by default penalised with --torch-loss, as there, and else free."
    ),
    output_bias: common.Bias | None = option("The same for the outputs."),
    class_weight: Literal["balanced"] | None = common.CLASS_WEIGHT,
    weight_column: str | None = common.WEIGHT_COLUMN,
    drop: str | None = common.DROP,
    target: str | None = common.TARGET,
    task: common.Task | None = common.TASK,
    raw: bool = option("The network was trained on the features as they are; else standardised.", default=False),
    no_split: bool = option("It was trained on all rows; else on 60 %.", default=False),
    refit: bool | None = option("It was trained on 80 %, as where certnet train chooses γ.", "--refit/--no-refit"),
    seed: int = common.SPLIT_SEED,
    gap: float = option("Relative distance from the best known network at which branching stops.", default=1e-3),
    time_limit: float = common.JOB_LIMIT,
    branching: common.Branching,
    no_train: bool = option("Do not look for a better network; the bound may be poor then.", default=False),
    out: str | None = common.out_folder("runs/optimality/NETWORK-DATA"),
    shown: common.Shown,
) -> int:
    """Prove how far NETWORK is from globally optimal on DATA, and say what would lower its objective."""
    from certificates import write_certificate
    from certnet.cli import training
    from certnet.cli.output import deliver
    from certnet.cli.rows import Subject
    from certnet.cli.show import Live, tell
    from certnet.io.load_data import load, with_loss
    from certnet.io.network import FOLDED
    from certnet.io.objectives import objective_of
    from certnet.io.output import output_folder, require_named
    from certnet.jobs import optimality as job
    from certnet.jobs.job import GLOBAL, closing_of
    from formulations import InputError
    from formulations._validation import as_positive
    from formulations.losses import name_of

    started, limit, options = began(), seconds_or_none(time_limit), SimpleNamespace(**context.params)
    if torch_loss is None and "reduction" in given_names(context):
        raise InputError("Leave --reduction out: it goes with --torch-loss.")
    if gamma is not None:
        as_positive("gamma", gamma)
    closing_of(GLOBAL, gap, branching.nodes, branching.workers, branching.scheduler)
    require_named(out)
    subject = Subject.named(network)
    data = subject.data(data)
    read, recipe = subject.read, training.recipe_of(options, data)
    own_terms: dict[str, Any] = {"loss": loss, "gamma": gamma, "hidden_bias": hidden_bias, "output_bias": output_bias}
    if subject.run is not None:
        # What is not given is as it was in training: data, objective, and the scale of features.
        own_names = {"target", "task", "seed", "raw", "refit", "class_weight", "weight_column"}
        changes = {name: getattr(options, name) for name in own_names & given_names(context)}
        changes |= {"split": False} if no_split else {}
        recipe = subject.run.recipe_for(data, **changes)
        if torch_loss is None:
            own_terms = {name: value or subject.run.objective[name] for name, value in own_terms.items()}
    split = load(recipe.asked_by(read.columns))
    own = read.on(split.offset, split.scale, split.classes)
    if own_terms["loss"] is None and torch_loss is None:
        of_classes = "logistic" if own.outputs == 1 else "cross-entropy"
        own_terms["loss"] = "squared" if split.task == "regression" else of_classes
    terms = {name: getattr(options, name) for name in ("torch_loss", "weight_decay", "optimizer", "reduction")}
    given = objective_of(own, split.X, split.Y, sample_weight=split.sample_weight, **own_terms, **terms)
    split = with_loss(split, name_of(given.program.loss.kind))
    about = (given.theirs, given.ours, *given.notes)
    if subject.knows_other(data):
        about = (*about, f"{subject.name} was trained on other data; this is about how good its network is on {data}.")
    if own.hidden is not read.network.hidden:
        about = (*about, FOLDED)
    tell(*training.sentences_about(split), *about, quiet=shown.quiet)
    place = Path(out or subject.place("optimality", split.name))
    with output_folder(place, files=tuple(FILES.values()), command="optimality") as folder:
        limit = job_seconds(limit, started)
        with Live(enabled=not shown.quiet, time_limit=limit) as live:
            result = job.optimality(
                given.program,
                *given.weights(),
                gap=gap,
                time_limit=limit,
                train=not no_train,
                **training.as_asked(options, "threads", "random_state", *training.BRANCHING),
                progress=live,
                provenance=training.provenance(split),
            )
        remarks = (training.OPEN.format(gap=gap),) if result.search is not None and not result.search.complete else ()
        known = training.job_report("optimality", result, split, (*about, *remarks), time.perf_counter() - started)
        converted = {"factor": given.factor, "constant": given.constant, "number": given.their_number}
        known |= {"network": subject.name, "converted": converted}
        files = {FILES["certificate"]: lambda path: write_certificate(path, result.certificate)}
        report, failure = deliver(folder, FILES, known, files)
    return training.say_job(options, report, remarks, failure, "bound so far was")


def tightness(
    run: Path = argument(
        "RUN", "Output folder of certnet train, or a certificate that it wrote.", shell_complete=common.run_names
    ),
    *,
    solver: str = common.SOLVER,
    time_limit: float = option("Seconds for everything, about; 0 for no limit.", default=50.0),
    tolerance: float = option("Relative difference of objective and bound that is none.", default=1e-4),
    seed: int = common.SEED,
    shown: common.Shown,
) -> int:
    """Say how tight the relaxation behind a run is: bound against objective, rank, complete positivity."""
    from certificates import Training, read_certificate
    from certificates.findings import figures
    from certnet.cli.output import head, say, with_headline
    from certnet.cli.show import Live
    from certnet.cli.training import FILES
    from certnet.io.runs import find_run
    from certnet.jobs.tightness import measure_tightness
    from certnet.solvers.registry import AUTO, get_solver
    from formulations._validation import as_positive

    started, limit = began(), seconds_or_none(time_limit)
    as_positive("--tolerance", tolerance)
    if solver != AUTO:
        get_solver(solver)
    folder = None if run.is_file() else find_run(run)
    path = run if folder is None else folder / FILES["certificate"]
    certificate = read_certificate(path, Training)
    n, d, c = certificate.shape
    limit = job_seconds(limit, started)
    how: dict[str, Any] = {"solver": solver, "time_limit": limit, "tolerance": tolerance, "random_state": seed}
    with Live(enabled=not shown.quiet, time_limit=limit) as live:
        found = measure_tightness(certificate, progress=live, **how)
    report: dict[str, Any] = {
        **head("tightness", None, found.reason),
        **found.to_dict(),
        "data": {"n": n, "d": d, "c": c, "fingerprint": certificate.data_fingerprint},
        "gamma": certificate.gamma,
        **figures(certificate, "loss", "hidden_bias", "output_bias"),
        "seconds": time.perf_counter() - started,
        "files": {"certificate": str(path)},
    }
    return say(shown, with_headline(report), _table(report), [f"{found.verdict}: {found.reason}"])


def _table(report: Mapping[str, Any]) -> Any:
    from certnet.runtime.display import figures_table
    from certnet.runtime.wording import NONE, bounds, down, percent, up

    data, solved = report["data"], report["relaxation"]
    spectrum, points, membership = report["spectrum"], report["points"], report["complete_positivity"]
    names = ("objective (upper bound)", "proved bound on the relaxation", "relative difference")
    value, best, status = solved["objective"], None, None
    if report["lower_bound"] > (solved["lower_bound"] or 0.0):
        best = f"{down(report['lower_bound'])}, gap {percent(report['gap'])}"
    if solved["solver"] is not None:
        status = f"{NONE if value is None else f'{value:.6g}'} ({solved['solver']}, "
        status += f"{solved['status'].replace('_', ' ')}; not a bound)"
    rank = spectrum and str(spectrum["rank"])
    if spectrum and spectrum["gap"] is not None:
        rank += f", with a gap of {spectrum['gap']:.1e} after it"
    return figures_table(
        f"tightness: n = {data['n']}, d = {data['d']}, c = {data['c']}, γ = {report['gamma']:g}",
        [
            ("loss", report["loss"]),
            ("biases", f"hidden {report['hidden_bias']}, output {report['output_bias']}"),
            *zip(names, bounds({**solved, "objective": report["objective"]}), strict=True),
            ("proved upper bound on it", None if solved["upper_bound"] is None else up(solved["upper_bound"])),
            ("best proved lower bound", best),
            ("value of its solution", status),
            ("rank of its solution", rank),
            ("spectrum", spectrum and ", ".join(f"{value:.1e}" for value in spectrum["values"][:SHOWN_VALUES])),
            ("true points", points and f"{points['count']}, their sum misses it by {points['residual']:.1e}"),
            ("solution completely positive", membership and f"{membership['verdict']} - {membership['reason']}"),
            *((f"time: {stage}", f"{seconds:.2f} s") for stage, seconds in report["stages"].items()),
            ("verdict", f"{report['verdict']} - {report['reason']}"),
        ],
    )
