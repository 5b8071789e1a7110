"""``certnet train``: its options; the work is in ``certnet.cli.training`` and, for several γ, ``certnet.cli.path``."""

from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import click

from certnet.cli import options as common
from certnet.cli.limits import positive_numbers, seconds_or_none
from certnet.cli.parsing import argument, decimal_hint, given_names, option, written
from formulations import InputError


def train(
    context: click.Context,
    data: str | None = argument(
        "DATA",
        "iris, wine, breast_cancer, digits or spiral; a CSV or Parquet file with column names; or an .npz "
        "file with X_train, Y_train and optionally X_val, Y_val, X_test, Y_test.",
        required=False,
    ),
    *,
    target: str | None = common.TARGET,
    features: str | None = option(
        "Columns of a table that are inputs; by default all that look useful.", metavar="A,B,..."
    ),
    drop: str | None = common.DROP,
    categorical: str | None = option("Columns of a table whose numbers are names, such as codes.", metavar="A,B,..."),
    impute: Literal["median", "mean", "most-frequent", "none"] = option(
        "What missing values of a table count as, by the training rows; none refuses them.", default="median"
    ),
    weight_column: str | None = common.WEIGHT_COLUMN,
    task: common.Task | None = common.TASK,
    raw: bool = option("Leave the features as they are; else standardise them.", default=False),
    no_split: bool = option("Train on all rows; else 60 % of them, or with --refit 80 %.", default=False),
    refit: bool | None = option(
        "Train on the validation rows too; by default where γ is chosen, by cross-validation then.",
        "--refit/--no-refit",
    ),
    seed: int = common.SPLIT_SEED,
    loss: str = option(
        "Loss: squared, cross-entropy, logistic, hinge, squared-hinge, huber:DELTA, absolute, quantile:TAU or "
        "poisson; auto is logistic for two classes, cross-entropy for more, squared for numbers.",
        default="auto",
        metavar="NAME",
    ),
    hidden_bias: common.Bias = option("Bias of the hidden neurons: penalised like weights, or free.", default="free"),
    output_bias: common.Bias = option("Bias of the outputs, likewise.", default="free"),
    no_bias: bool = option("Neither of the biases.", default=False),
    class_weight: Literal["balanced"] | None = common.CLASS_WEIGHT,
    gamma: str = option(
        "Weight decay, or auto: chosen by validation, never on test rows.", default="auto", metavar="G"
    ),
    gammas: str | None = option("Several weight decays, each in a folder of its own, with a table.", metavar="G,G,..."),
    solver: str = common.SOLVER,
    time_limit: float = common.JOB_LIMIT,
    tolerance: float = option("Relative residual at which the solver stops.", default=1e-5),
    out: str | None = common.out_folder("runs/NAME"),
    resume: str | None = option("Go on with the job that was cut short there; takes no DATA.", metavar="FOLDER"),
    device: Literal["cpu", "cuda"] = option("Where the ADMM computes.", default="cpu"),
    method: Literal["sdp", "global"] = option(
        "sdp solves the relaxation; global trains without it and proves by branching.", default="sdp"
    ),
    gap: float | None = option("Relative gap at which to stop, 1e-3 (0.1 %) by default; 0.9 does without branching."),
    branching: common.Branching,
    shown: common.Shown,
) -> int:
    """Train on DATA; write network.npz, optimality.cert and report.json."""
    options = SimpleNamespace(**context.params)
    given = given_names(context)
    if data is None and resume is None:
        raise InputError("Name the data to train on, for example: certnet train iris.")
    if no_bias:
        if given & {"hidden_bias", "output_bias"}:
            raise InputError("--no-bias excludes --hidden-bias and --output-bias; give it or them.")
        options.hidden_bias = options.output_bias = "none"
        given |= {"hidden_bias", "output_bias"}
    given -= {"no_bias"}
    try:
        options.gamma = None if gamma == "auto" else float(gamma)
    except ValueError:
        raise InputError(f"--gamma must be a number, not {gamma[:40]!r}{decimal_hint(gamma) or ', or auto'}.") from None
    options.refit = (options.gamma is None and gammas is None) if refit is None else refit
    options.time_limit, options.source, options.checkpoint = seconds_or_none(time_limit), data, None
    if gammas is None:
        from certnet.cli.resuming import resumed
        from certnet.cli.training import run_train

        return run_train(options if resume is None else resumed(options, given))
    from certnet.cli.path import run_path

    if "gamma" in given:
        raise InputError("--gamma and --gammas exclude each other; give one of them.")
    branched = given & {"method", "gap", "nodes", "workers", "scheduler", "circuits"}
    if branched:
        raise InputError(f"--gammas solves relaxations; leave {written(min(branched))} out, or give one --gamma.")
    if data is None:
        raise InputError("--gammas needs DATA also with --resume, which then keeps what is finished there.")
    if resume is not None:
        if out is not None and Path(out).resolve() != Path(resume).resolve():
            raise InputError("--out and --resume name different folders; give one of them.")
        options.out = resume
    options.gammas = positive_numbers(gammas, "--gammas", "1,0.3,0.1")
    return run_path(options)
