"""Options and help texts. Commands are only parsed here; the work is imported when it is called."""

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from certificates.arithmetic.matrix import Arithmetic
from certnet import __version__
from certnet.cli.exits import EPILOG, Exit
from certnet.cli.limits import seconds_or_none
from certnet.cli.report import failure
from certnet.cli.usage import usage_sentence
from certnet.output import standard_output, strict_json
from formulations import CertnetError, InputError

Job = Callable[[], int]
"""A parsed command: runs it and returns the exit code."""

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="certnet",
    help="Train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is.",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = ("train", "optimality", "verify", "audit", "lipschitz", "check", "tightness", "doctor")
SCALING = (
    "PyTorch's weight_decay w (not AdamW's) with MSELoss() on n rows and c outputs is gamma = w·n·c/2, with "
    "MSELoss(reduction='sum') gamma = w/2, with half the sum gamma = w."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


class TaskOption(StrEnum):
    """What the targets are."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class DeviceOption(StrEnum):
    """Where the heavy linear algebra runs."""

    CPU = "cpu"
    CUDA = "cuda"


class NormOption(StrEnum):
    """The norm in which inputs are disturbed."""

    LINF = "linf"
    L2 = "l2"


class PartOption(StrEnum):
    """Which rows of the data."""

    TEST = "test"
    TRAIN = "train"
    VALIDATION = "validation"
    ALL = "all"


class MethodOption(StrEnum):
    """How the network is trained and the bound proved."""

    SDP = "sdp"
    GLOBAL = "global"


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"certnet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error (anywhere on the line).")
    ] = False,
) -> None:
    """Train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is."""


@app.command("train", epilog=EPILOG)
def _train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="iris, wine, breast_cancer, digits or spiral; a CSV file with a header; or an .npz file with "
            "X_train, Y_train and optionally X_val, Y_val, X_test, Y_test.",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a CSV file; the last one by default.")] = None,
    task: Annotated[
        TaskOption | None, typer.Option(help="What the targets are; classes, unless an .npz holds a matrix of numbers.")
    ] = None,
    gamma: Annotated[float, typer.Option(help="Weight decay, positive.")] = 0.1,
    gammas: Annotated[
        str | None,
        typer.Option(metavar="G,G,...", help="Several weight decays, each in a folder of its own, with a table."),
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="Give the hidden neurons a (regularised) bias.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Leave the features as they are; else standardise them.")] = False,
    no_split: Annotated[
        bool, typer.Option("--no-split", help="Train on all rows; else 60/20/20 training, validation, test.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and of everything random.")] = 0,
    solver: Annotated[str, typer.Option(help="Solver of the relaxation; see certnet doctor.")] = "auto",
    time_limit: Annotated[
        float, typer.Option(help="Seconds for the whole job; 0 for no limit. More time gives a better bound.")
    ] = 50.0,
    tolerance: Annotated[float, typer.Option(help="Relative residual at which the solver stops.")] = 1e-5,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Output folder; runs/NAME by default.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Go on with the job that was cut short there; takes no DATA."),
    ] = None,
    device: Annotated[DeviceOption, typer.Option(help="Where the ADMM computes.")] = DeviceOption.CPU,
    method: Annotated[
        MethodOption, typer.Option(help="sdp solves the relaxation; global trains without it and proves by branching.")
    ] = MethodOption.SDP,
    gap: Annotated[
        float | None,
        typer.Option(help="Relative gap to prove by branching, 1e-3 for 0.1 %; with --method global 1e-3 by default."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Most relaxations that branching may solve.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that branching may use.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to branch on instead.")
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")] = False,
) -> Job:
    """Train on DATA; write network.npz, optimality.cert and report.json."""

    def job() -> int:
        from certnet.cli.train import TrainOptions, run_train
        from certnet.data import Recipe

        if data is None and resume is None:
            raise InputError("Name the data to train on, for example: certnet train iris.")
        recipe = Recipe(
            source=data or "",
            target=target,
            task=None if task is None else task.value,
            seed=seed,
            raw=raw,
            split=not no_split,
            bias=bias,
        )
        options = TrainOptions(
            recipe=recipe,
            gamma=gamma,
            solver=solver,
            time_limit=seconds_or_none(time_limit),
            tolerance=tolerance,
            out=out,
            device=device.value,
            json=json,
            quiet=quiet,
            method=method.value,
            gap=gap,
            nodes=nodes,
            workers=workers,
            scheduler=scheduler,
        )
        if gammas is not None:
            from certnet.cli.path import PathOptions, parse_gammas, run_path

            if "gamma" in _given(context):
                raise InputError("--gamma and --gammas exclude each other; give one of them.")
            if method is not MethodOption.SDP or gap is not None:
                raise InputError("--gammas solves relaxations; leave --method and --gap out, or give one --gamma.")
            if data is None:
                raise InputError("--gammas needs DATA also with --resume, which then keeps what is finished there.")
            if resume is not None:
                if out is not None and Path(out).resolve() != Path(resume).resolve():
                    raise InputError("--out and --resume name different folders; give one of them.")
                options = replace(options, out=resume)
            return run_path(PathOptions(train=options, gammas=parse_gammas(gammas), resume=resume is not None))
        if resume is not None:
            from certnet.cli.resume import resumed

            options = resumed(resume, options, _given(context))
        return run_train(options)

    return job


@app.command("optimality", epilog=f"{SCALING} {EPILOG}")
def _optimality(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="A two-layer ReLU network: .npz of certnet's or with U (d×m), V (c×m) and optionally b (m), .onnx, or "
            ".safetensors of a PyTorch state with two Linear layers.",
        ),
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="What it was trained on; as for certnet train.")],
    gamma: Annotated[float, typer.Option(help="Weight decay γ of ½·sum of squares + γ/2·(sum of squared weights).")],
    target: Annotated[str | None, typer.Option(help="Target column of a CSV file; the last one by default.")] = None,
    task: Annotated[
        TaskOption | None, typer.Option(help="What the targets are; classes, unless an .npz holds a matrix of numbers.")
    ] = None,
    bias: Annotated[bool, typer.Option("--bias", help="The hidden neurons have a (regularised) bias.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The network was trained on the features as they are; else standardised.")
    ] = False,
    no_split: Annotated[
        bool, typer.Option("--no-split", help="It was trained on all rows; else on 60 % as certnet train does.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and of everything random.")] = 0,
    gap: Annotated[
        float, typer.Option(help="Relative distance from the best known network at which branching stops.")
    ] = 1e-3,
    time_limit: Annotated[
        float, typer.Option(help="Seconds for the whole job; 0 for no limit. More time gives a better bound.")
    ] = 50.0,
    nodes: Annotated[int | None, typer.Option(help="Most relaxations that branching may solve.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that branching may use.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to branch on instead.")
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Do not look for a better network; the bound may be poor then.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Output folder; runs/optimality/NAME by default.")
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")] = False,
) -> Job:
    """Prove how far NETWORK is from globally optimal on DATA, and say what would lower its objective."""

    def job() -> int:
        from certnet.cli.optimality import OptimalityOptions, run_optimality
        from certnet.data import Recipe

        recipe = Recipe(
            source=data,
            target=target,
            task=None if task is None else task.value,
            seed=seed,
            raw=raw,
            split=not no_split,
            bias=bias,
        )
        return run_optimality(
            OptimalityOptions(
                network=network,
                recipe=recipe,
                gamma=gamma,
                gap=gap,
                time_limit=seconds_or_none(time_limit),
                nodes=nodes,
                workers=workers,
                scheduler=scheduler,
                train=not no_train,
                out=out,
                json=json,
                quiet=quiet,
            )
        )

    return job


@app.command("verify", epilog=EPILOG)
def _verify(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A two-layer ReLU network: .onnx, .npz or .safetensors.")
    ],
    subject: Annotated[
        str,
        typer.Argument(
            metavar="PROPERTY|DATA",
            help="A VNN-LIB 1.0 file, which states what is unsafe; or data as for certnet train, whose classes are to "
            "be kept (test rows where the file has them; features as they are in the file).",
        ),
    ],
    norm: Annotated[NormOption | None, typer.Option(help="With DATA: the norm of the disturbance.")] = None,
    radius: Annotated[float | None, typer.Option(help="With DATA: its largest size, 0 or more.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="With DATA: rows A to B-1; all by default.")] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a CSV file; the last one by default.")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds for each property or row; 0 for no limit.")] = 60.0,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where the proof is written, if there is one; with DATA a folder."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attack.")] = 0,
    json: Json = False,
) -> Job:
    """Prove that no input is unsafe (unsat), find one (sat), or say unknown or timeout, on the first line."""

    def job() -> int:
        from certnet.cli.verify import VerifyOptions, run_verify

        return run_verify(
            VerifyOptions(
                network=network,
                subject=subject,
                norm=None if norm is None else norm.value,
                radius=radius,
                rows=rows,
                target=target,
                time_limit=seconds_or_none(time_limit),
                certificate=certificate,
                seed=seed,
                json=json,
            )
        )

    return job


@app.command("audit", epilog=EPILOG)
def _audit(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A two-layer ReLU network: .onnx, .npz or .safetensors.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="As for certnet train; features are taken as they are in the file.")
    ],
    norm: Annotated[NormOption, typer.Option(help="The norm of the disturbance.")],
    radii: Annotated[str, typer.Option(metavar="R,R,...", help="Its sizes, positive.")],
    part: Annotated[PartOption, typer.Option(help="Rows to audit.")] = PartOption.TEST,
    limit: Annotated[int | None, typer.Option(help="The first so many of these rows; all by default.")] = None,
    certified_radii: Annotated[
        bool, typer.Option("--certified-radii", help="Search for the largest certified radius of each input too.")
    ] = False,
    certificates: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the proof of each input and radius is written.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Target column of a CSV file; the last one by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the attacks.")] = 0,
    time_limit: Annotated[float, typer.Option(help="Seconds for the whole audit; 0 for no limit.")] = 0.0,
    input_limit: Annotated[float, typer.Option(help="Seconds for each input; 0 for no limit.")] = 60.0,
    workers: Annotated[int, typer.Option(help="Processes that may be used.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to use instead.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Output folder; runs/audit/NAME by default.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew, also where a journal is in the folder.")] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")] = False,
) -> Job:
    """Certified and attacked accuracy of NETWORK on DATA; goes on where the same audit was cut short."""

    def job() -> int:
        from certnet.cli.audit import AuditOptions, parse_radii, run_audit
        from certnet.data import Recipe

        return run_audit(
            AuditOptions(
                network=network,
                recipe=Recipe(source=data, target=target, task="classification", seed=seed, raw=True),
                norm=norm.value,
                radii=parse_radii(radii),
                part=part.value,
                limit=limit,
                certified_radii=certified_radii,
                certificates=certificates,
                time_limit=seconds_or_none(time_limit),
                input_limit=seconds_or_none(input_limit, "--input-limit"),
                workers=workers,
                scheduler=scheduler,
                out=out,
                fresh=fresh,
                json=json,
                quiet=quiet,
            )
        )

    return job


@app.command("lipschitz", epilog=EPILOG)
def _lipschitz(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A two-layer ReLU network: .onnx, .npz or .safetensors.")
    ],
    output: Annotated[
        int | None, typer.Option(help="One output, counted from 0; by default each of them, and all of them in l2.")
    ] = None,
    pair: Annotated[str | None, typer.Option(metavar="I,J", help="The difference of two outputs instead.")] = None,
    local: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A constant for each row of these data, on the inputs around it; by default of all outputs in l2. "
            "Data as for certnet verify (test rows where the file has them; features as they are in the file).",
        ),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="With --local: how far around a row, 0 or more.")] = None,
    norm: Annotated[NormOption | None, typer.Option(help="With --local: in which norm; l2 by default.")] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="A:B", help="With --local: rows A to B-1; all by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With --local: target column of a CSV file; the last one by default.")
    ] = None,
    plain: Annotated[bool, typer.Option("--lipsdp", help="LipSDP alone, without products of signs.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for the solver of each; 0 for no limit.")] = 60.0,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where the proof is written, with --output or --pair; else a folder for all proofs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampled gradients.")] = 0,
    json: Json = False,
) -> Job:
    """Prove how much outputs change at most for each unit of change of the input in l2: anywhere, or near rows."""

    def job() -> int:
        from certnet.cli.lipschitz import LipschitzOptions, run_lipschitz

        return run_lipschitz(
            LipschitzOptions(
                network=network,
                output=output,
                pair=pair,
                local=local,
                radius=radius,
                norm=None if norm is None else norm.value,
                rows=rows,
                target=target,
                plain=plain,
                time_limit=seconds_or_none(time_limit),
                certificate=certificate,
                seed=seed,
                json=json,
            )
        )

    return job


@app.command("check", epilog=EPILOG)
def _check(
    certificates: Annotated[
        list[Path],
        typer.Argument(metavar="CERTIFICATE...", help="Files that certnet train, verify, audit or lipschitz wrote."),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data the certificates must be about; else those inside them are used."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="Network that robustness certificates must be about.")
    ] = None,
    stated: Annotated[
        str | None,
        typer.Option("--property", metavar="FILE", help="VNN-LIB file that robustness certificates must be about."),
    ] = None,
    arithmetic: Annotated[
        Arithmetic,
        typer.Option(help="How to compute: rational, ball or verified floating point; auto aims at about a second."),
    ] = Arithmetic.AUTO,
    time_limit: Annotated[
        float, typer.Option(help="Seconds for each file, after which its proof is given up as UNKNOWN; 0 for no limit.")
    ] = 600.0,
    json: Json = False,
) -> Job:
    """Prove the bounds of certificates again, with no solver."""

    def job() -> int:
        from certnet.cli.check import CheckOptions, run_check

        limit = seconds_or_none(time_limit)
        options = CheckOptions(
            data=data, network=network, stated=stated, arithmetic=arithmetic, time_limit=limit, json=json
        )
        return run_check(certificates, options)

    return job


@app.command("tightness", epilog=EPILOG)
def _tightness(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Output folder of certnet train, or a certificate that it wrote.")
    ],
    solver: Annotated[str, typer.Option(help="Solver of the relaxation; see certnet doctor.")] = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds for everything, about; 0 for no limit.")] = 60.0,
    tolerance: Annotated[float, typer.Option(help="Relative difference of objective and bound that is none.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table on stderr.")] = False,
) -> Job:
    """Say how tight the relaxation behind a run is: bound against objective, rank, complete positivity."""

    def job() -> int:
        from certnet.cli.tightness import TightnessOptions, run_tightness

        options = TightnessOptions(
            solver=solver,
            time_limit=seconds_or_none(time_limit),
            tolerance=tolerance,
            seed=seed,
            json=json,
            quiet=quiet,
        )
        return run_tightness(run, options)

    return job


@app.command("doctor", epilog=EPILOG)
def _doctor(json: Json = False) -> Job:
    """Show versions, solvers and their licences, BLAS threads, memory and GPU."""

    def job() -> int:
        from certnet.cli.doctor import run_doctor

        return run_doctor(json=json)

    return job


def _given(context: typer.Context) -> frozenset[str]:
    """Names of the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors become one sentence on stderr.

    With ``--json`` they also become the JSON object on stdout.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with standard_output():  # of --help and --version
            outcome = app(arguments, prog_name="certnet", standalone_mode=False)
        return int(outcome() if callable(outcome) else outcome or 0)
    except KeyboardInterrupt:
        return _fail("Interrupted.", Exit.INTERRUPTED, arguments)
    except BrokenPipeError:
        return Exit.USAGE
    except CertnetError as error:
        return _fail(str(error), Exit.USAGE, arguments)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", Exit.USAGE, arguments)
    except _UsageError as error:
        return _fail(usage_sentence(error, arguments), Exit.USAGE, arguments)
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence for users, the traceback on request
        if debug:
            traceback.print_exc()
        message = f"Unexpected {type(error).__name__}: {error}".rstrip(": .")
        hint = "" if debug else "; run again with --debug for the traceback"
        return _fail(f"{message}{hint}.", Exit.INTERNAL, arguments)


def _fail(message: str, code: Exit, arguments: Sequence[str]) -> int:
    sys.stderr.write(f"certnet: {' '.join(message.split())}\n")
    if "--json" in arguments:
        command = next((word for word in arguments if word in COMMANDS), None)
        # The sentence on stderr has said it; a stdout that is lost as well changes nothing.
        with contextlib.suppress(InputError, BrokenPipeError), standard_output():
            sys.stdout.write(strict_json(failure(command, message, code)) + "\n")
    return code
