"""The command line: from arguments to an exit code, with every error in one sentence."""

import contextlib
import gc
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from certnet.cli.commands import CODES, COMMANDS, Commands, Exit
from certnet.cli.signals import Signals
from certnet.runtime.streams import Guarded, standard_output, strict_json
from certnet.runtime.version import __version__
from certnet.runtime.wording import printable


def _printing(name: str, text_of: Callable[[click.Context], str], help_text: str) -> click.Option:
    """An option that prints a text and ends."""

    def say(context: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            click.echo(text_of(context))
            context.exit()

    return click.Option([name], is_flag=True, expose_value=False, is_eager=True, callback=say, help=help_text)


SHELLS = {
    "bash": (BashComplete, ".bashrc"),
    "zsh": (ZshComplete, ".zshrc"),
    "fish": (FishComplete, ".config/fish/config.fish"),
}
"""How each shell completes, and what it reads when it starts."""


def _shell() -> str:
    from formulations import InputError  # brings NumPy, which --help does without

    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise InputError(f"Only {', '.join(SHELLS)} can complete, and the variable SHELL names none; set it to one.")
    return shell


def _script(context: click.Context) -> str:
    """What makes the user's shell complete."""
    shell = _shell()
    source = SHELLS[shell][0](context.command, {}, "certnet", "_CERTNET_COMPLETE").source()
    return f"autoload -Uz compinit && compinit\n{source}" if shell == "zsh" else source


def _install(context: click.Context) -> str:
    """Write the script to a file in the home folder that the shell reads from now on; says which ones they are."""
    from certnet.io.output import write_file, writing

    shell = _shell()
    place, start = Path.home() / f".certnet-completion.{shell}", Path.home() / SHELLS[shell][1]
    line = f"source {shlex.quote(str(place))}".encode()
    write_file(place, _script(context).encode())
    with writing(start):
        start.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, as nobody knows in which encoding the user's lines are.
        if line not in (start.read_bytes().splitlines() if start.exists() else []):
            with start.open("ab") as file:
                file.write(b"\n%s\n" % line)
    return f"{start} reads {place} from now on; start the shell anew."


app = Commands(
    "certnet",
    help="Train a two-layer ReLU network through its lifted semidefinite relaxation, and prove how good it is.",
    epilog=CODES,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        _printing("--version", lambda _: __version__, "Print the version and exit."),
        _printing("--name", lambda _: "certnet", "Print the name and exit."),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            help="Show the traceback of an unexpected error (anywhere on the line).",
        ),
        _printing("--install-completion", _install, "Let the shell complete commands and options."),
        _printing("--show-completion", _script, "Print what would be installed for that."),
    ],
)


def run(argv: Sequence[str], signals: Signals) -> int:
    """As ``main``; with ``--json`` errors also become the JSON object on stdout."""
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    with contextlib.redirect_stderr(Guarded(sys.stderr)):
        try:
            signals.serve()
            with standard_output(needed=True):  # of --help and --version
                outcome: Any = app(arguments, prog_name="certnet", standalone_mode=False)
            if not gc.isenabled():
                gc.freeze()
                gc.enable()
            return int((outcome() if callable(outcome) else outcome) or 0)
        except KeyboardInterrupt:
            return _fail("Interrupted.", Exit.INTERRUPTED, arguments)
        except BrokenPipeError:
            return Exit.USAGE
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{error.strerror or error}.", Exit.USAGE, arguments)
        except click.ClickException as error:
            return _fail(_usage_sentence(error, arguments), Exit.USAGE, arguments)
        except Exception as error:  # noqa: BLE001 - the last resort: a sentence for users, the traceback on request
            from formulations import CertnetError  # brings NumPy, which --help does without

            if isinstance(error, CertnetError):
                return _fail(str(error), Exit.USAGE, arguments)
            if debug:
                traceback.print_exception(error)
            if signals.came:
                # Libraries make other errors of it, as when they are interrupted while they are imported.
                return _fail("Interrupted.", Exit.INTERRUPTED, arguments)
            message = f"Unexpected {type(error).__name__}: {error}".rstrip(": .")
            hint = "" if debug else "; run again with --debug for the traceback"
            return _fail(f"{message}{hint}.", Exit.INTERNAL, arguments)


def _fail(message: str, code: Exit, arguments: Sequence[str]) -> int:
    sys.stderr.write(f"certnet: {printable(' '.join(message.split()))}\n")
    if "--json" in arguments:
        from certnet.cli.output import failure
        from formulations import InputError

        command = next((word for word in arguments if word in COMMANDS), None)
        # The sentence on stderr has said it; a stdout that is lost as well changes nothing.
        with contextlib.suppress(InputError, BrokenPipeError), standard_output(needed=True):
            sys.stdout.write(strict_json(failure(command, message, code)) + "\n")
    return code


def _usage_sentence(error: click.ClickException, arguments: Sequence[str]) -> str:
    """What is wrong with the arguments, without the wording of the libraries that parse them."""
    text = re.sub(r"\((Did you mean .*\?)\)$", r"\1", " ".join(error.format_message().split()))
    if text.startswith("Missing command"):
        return "Name a command, for example certnet train iris; certnet --help lists all."
    if text.startswith("Missing argument") and arguments[0] in COMMANDS:
        return f"{text.rstrip('.')}; for example: {COMMANDS[arguments[0]].example}."
    return text if text.endswith((".", "?", "!")) else f"{text}."
