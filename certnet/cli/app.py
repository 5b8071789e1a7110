"""The command line: from arguments to an exit code, with every error in one sentence."""

import contextlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from certnet import __version__
from certnet.cli.commands import COMMANDS, EPILOGS
from certnet.cli.exits import EPILOG, Exit
from certnet.cli.report import failure
from certnet.cli.signals import Signals
from certnet.cli.usage import usage_sentence
from certnet.io.output import standard_output, strict_json
from certnet.runtime.streams import guarded_stderr
from formulations import CertnetError, InputError

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


for _name, _command in COMMANDS.items():
    app.command(_name, epilog=EPILOGS[_name])(_command)


def run(argv: Sequence[str], signals: Signals) -> int:
    """Run the command line and return the exit code; errors become one sentence on stderr.

    With ``--json`` they also become the JSON object on stdout.
    """
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"]
    with guarded_stderr():
        try:
            signals.serve()
            with standard_output(needed=True):  # of --help and --version
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
            return _unexpected(error, signals, debug, arguments)


def _unexpected(error: Exception, signals: Signals, debug: bool, arguments: Sequence[str]) -> int:
    if debug:
        traceback.print_exception(error)
    if signals.came:
        # Libraries make other errors of it, as when they are interrupted while they are imported.
        return _fail("Interrupted.", Exit.INTERRUPTED, arguments)
    message = f"Unexpected {type(error).__name__}: {error}".rstrip(": .")
    hint = "" if debug else "; run again with --debug for the traceback"
    return _fail(f"{message}{hint}.", Exit.INTERNAL, arguments)


def _fail(message: str, code: Exit, arguments: Sequence[str]) -> int:
    sys.stderr.write(f"certnet: {' '.join(message.split())}\n")
    if "--json" in arguments:
        command = next((word for word in arguments if word in COMMANDS), None)
        # The sentence on stderr has said it; a stdout that is lost as well changes nothing.
        with contextlib.suppress(InputError, BrokenPipeError), standard_output(needed=True):
            sys.stdout.write(strict_json(failure(command, message, code)) + "\n")
    return code
