"""``certnet train``: its options; the work is in ``certnet.cli.training`` and, for several γ, ``certnet.cli.path``."""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import click

from certnet.cli import options as common
from certnet.cli.limits import gamma_or_none, positive_numbers, seconds_or_none
from certnet.cli.parsing import argument, given_names, option, written
from formulations import InputError


def train(
    context: click.Context,
    data: Annotated[
        str | None,
        argument(
            metavar="DATA",
            help="iris, wine, breast_cancer, digits or spiral; a CSV or Parquet file with column names; or an .npz "
            "file with X_train, Y_train and optionally X_val, Y_val, X_test, Y_test.",
        ),
    ] = None,
    *,
    target: common.Target = None,
    features: Annotated[
        str | None,
        option(metavar="A,B,...", help="Columns of a table that are inputs; by default all that look useful."),
    ] = None,
    drop: common.Drop = None,
    categorical: Annotated[
        str | None, option(metavar="A,B,...", help="Columns of a table whose numbers are names, such as codes.")
    ] = None,
    impute: Annotated[
        Literal["median", "mean", "most-frequent", "none"],
        option(help="What missing values of a table count as, by the training rows; none refuses them."),
    ] = "median",
    weight_column: common.WeightColumn = None,
    task: common.Task = None,
    raw: Annotated[bool, option(help="Leave the features as they are; else standardise them.")] = False,
    no_split: Annotated[bool, option(help="Train on all rows; else 60 % of them, or with --refit 80 %.")] = False,
    refit: Annotated[
        bool | None,
        option(
            "--refit/--no-refit",
            help="Train on the validation rows too; by default where γ is chosen, by cross-validation then.",
        ),
    ] = None,
    seed: common.SplitSeed = 0,
    loss: Annotated[
        str,
        option(
            metavar="NAME",
            help="Loss: squared, cross-entropy, logistic, hinge, squared-hinge, huber:DELTA, absolute, quantile:TAU or "
            "poisson; auto is logistic for two classes, cross-entropy for more, squared for numbers.",
        ),
    ] = "auto",
    hidden_bias: Annotated[
        common.Bias, option(help="Bias of the hidden neurons: penalised like weights, or free.")
    ] = "free",
    output_bias: Annotated[common.Bias, option(help="Bias of the outputs, likewise.")] = "free",
    no_bias: Annotated[bool, option(help="Neither of the biases.")] = False,
    class_weight: common.ClassWeight = None,
    gamma: Annotated[
        str, option(metavar="G", help="Weight decay, or auto: chosen by validation, never on test rows.")
    ] = "auto",
    gammas: Annotated[
        str | None,
        option(metavar="G,G,...", help="Several weight decays, each in a folder of its own, with a table."),
    ] = None,
    solver: common.Solver = "auto",
    time_limit: common.JobLimit = 50.0,
    tolerance: Annotated[float, option(help="Relative residual at which the solver stops.")] = 1e-5,
    out: Annotated[str | None, common.out_folder("runs/NAME")] = None,
    resume: Annotated[
        str | None,
        option(metavar="FOLDER", help="Go on with the job that was cut short there; takes no DATA."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], option(help="Where the ADMM computes.")] = "cpu",
    method: Annotated[
        Literal["sdp", "global"],
        option(help="sdp solves the relaxation; global trains without it and proves by branching."),
    ] = "sdp",
    gap: Annotated[
        float | None,
        option(help="Relative gap at which to stop, 1e-3 (0.1 %) by default; 0.9 does without branching."),
    ] = None,
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
    options.gamma = gamma_or_none(gamma)
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
