"""The commands by name, each imported when it is called or asked for its options."""

import functools
import importlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click

from certnet.cli.parsing import argument, command
from certnet.cli.signals import INTERRUPTED

CODES = (
    "Exit codes: 0 proved or done, 1 refuted, 2 usage or bad input, 3 unknown, "
    "70 error in certnet itself, 130 interrupted."
)


class Exit(IntEnum):
    """What a calling script may rely on."""

    OK = 0
    REFUTED = 1
    USAGE = 2
    UNKNOWN = 3
    INTERNAL = 70
    INTERRUPTED = INTERRUPTED


@dataclass(frozen=True)
class Command:
    """A command: where the function of its name is, its line in ``certnet --help``, and a call of it."""

    module: str
    summary: str
    example: str


COMMANDS = {
    name: Command(module, summary, f"certnet {name} {arguments}".rstrip())
    for name, module, summary, arguments in (
        ("train", "train", "Train on data; prove how good the network is.", "iris --time-limit 20"),
        ("predict", "predict", "What a network says of new rows.", "iris new.csv -o predicted.csv"),
        ("show", "inspect", "All there is to know about a run.", "iris"),
        ("compare", "inspect", "Several runs in one table.", "iris runs/iris-small"),
        ("export", "inspect", "A network for ONNX, PyTorch or NumPy.", "iris --onnx iris.onnx --float32"),
        ("report", "inspect", "Runs as one page of HTML.", "iris --html iris.html"),
        (
            "optimality",
            "optimality",
            "How far any network is from the global optimum.",
            "model.safetensors points.csv --torch-loss cross_entropy --weight-decay 1e-3",
        ),
        ("verify", "verify", "Prove a property, or that rows keep their class.", "iris iris --norm linf --radius 0.1"),
        ("supports", "doctor", "What VNN-LIB asks of a solver.", "--onnx-operators"),
        ("audit", "audit", "Certified and attacked accuracy.", "iris iris --norm linf --radii 0.05,0.1"),
        ("lipschitz", "ask", "Prove Lipschitz constants.", "iris"),
        ("radius", "radius", "How far rows may move, in all inputs or one.", "iris iris --rows 0:5 --each-input"),
        ("range", "ask", "Between which values outputs lie, proved.", "iris iris --pair 0,1"),
        ("equivalence", "ask", "How far two networks are apart, proved.", "iris runs/iris-small iris --epsilon 0.1"),
        ("monotonicity", "ask", "Which outputs rise or fall with an input, proved.", "iris '[0,8]' --input 0"),
        ("check", "check", "Prove certificates again, with no solver.", "iris --data iris"),
        ("tightness", "optimality", "How tight the relaxation behind a run is.", "iris"),
        ("doctor", "doctor", "Versions, solvers, memory and GPU.", ""),
        ("help", "help", "The help of a command.", "train"),
    )
}
"""In the order in which ``certnet --help`` lists them."""


class Commands(click.Group):
    """The group of these commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # What is looked through for names that are close, to suggest one.
        self.commands: Any = dict.fromkeys(COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List names and summaries, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, known.summary) for name, known in COMMANDS.items()])


@functools.cache
def load(name: str) -> click.Command:
    """The parser of a command."""
    known = COMMANDS[name]
    work = _help if name == "help" else getattr(importlib.import_module(f"certnet.cli.{known.module}"), name)
    settings = {"ignore_unknown_options": name == "supports"}  # whose arguments begin with a dash
    return command(name, work, epilog=f"Example: {known.example}\n\n{CODES}", context_settings=settings)


def _help(name: str | None = argument("COMMAND", "Name of a command.", required=False)) -> int:
    """The help of certnet, or of a command."""
    raise AssertionError(f"help {name} is read before the arguments are parsed")
