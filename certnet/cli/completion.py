"""Completion for the shell: the script of click, shown or put where the shell reads it."""

import os
import shlex
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from certnet.io.output import write_file, writing
from formulations import InputError

SHELLS = {
    "bash": (BashComplete, ".bashrc"),
    "zsh": (ZshComplete, ".zshrc"),
    "fish": (FishComplete, ".config/fish/config.fish"),
}
"""How each shell completes, and what it reads when it starts."""


def _shell() -> str:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise InputError(f"Only {', '.join(SHELLS)} can complete, and the variable SHELL names none; set it to one.")
    return shell


def script(program: click.Command) -> str:
    """What makes the user's shell complete."""
    shell = _shell()
    source = SHELLS[shell][0](program, {}, "certnet", "_CERTNET_COMPLETE").source()
    return f"autoload -Uz compinit && compinit\n{source}" if shell == "zsh" else source


def install(program: click.Command) -> str:
    """Write the script to a file in the home folder that the shell reads from now on; says which ones they are."""
    shell = _shell()
    place, start = Path.home() / f".certnet-completion.{shell}", Path.home() / SHELLS[shell][1]
    line = f"source {shlex.quote(str(place))}".encode()
    write_file(place, script(program).encode())
    with writing(start):
        start.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, as nobody knows in which encoding the user's lines are.
        if line not in (start.read_bytes().splitlines() if start.exists() else []):
            with start.open("ab") as file:
                file.write(b"\n%s\n" % line)
    return f"{start} reads {place} from now on; start the shell anew."
