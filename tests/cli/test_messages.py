"""Sentences name options that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import certnet
from certnet.cli.app import app
from certnet.cli.commands import COMMANDS, load
from certnet.cli.doctor import CAPABILITIES
from tests.cli.support import Call, one_sentence

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")


def options(command: str) -> set[str]:
    """The long options of a command, and those of the program."""
    found = [*app.params, *load(command).params]
    return {
        name for parameter in found for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")
    } | {"--help"}


def _sentences(tree: ast.AST) -> Iterator[str]:
    """Texts of several words that are no docstrings."""
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in notes else None
        if isinstance(text, str) and " " in text.strip():
            yield text


def test_every_option_in_a_sentence_exists_on_some_command() -> None:
    known = set().union(CAPABILITIES, *(options(name) for name in COMMANDS))
    files = sorted(Path(certnet.__file__).parent.rglob("*.py"))
    named = {
        (option, file.name)
        for file in files
        for text in _sentences(ast.parse(file.read_text(encoding="utf-8")))
        for option in OPTION.findall(text)
    }
    assert len(named) > 30
    assert {(option, name) for option, name in named if option not in known} == set()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "iris", "--workers", "0"), "--workers must be at least 1, not 0."),
        (("verify", "n", "d", "--seed=-1"), "--seed must be at least 0, not -1."),
        (("audit", "n", "d", "--norm", "l3", "--radii", "1"), "--norm must be one of linf, l2, not 'l3'."),
        (("train", "iris", "--gammas", "1", "--circuits"), "leave --circuits out, or give one --gamma."),
        (("predict", "n", "d", "--input-limit", "3"), "Leave --input-limit out: it goes with --radius-norm"),
        (("verify", "n", "p.vnnlib", "--input-limit", "3"), "Leave --input-limit out: it goes with data"),
        (("optimality", "n", "d", "--reduction", "sum"), "Leave --reduction out: it goes with --torch-loss."),
        (("train", ""), "DATA is empty; name one."),
        (("check", "a.cert", " "), "CERTIFICATE is empty; name one."),
        (("verify", "orders"), "Say what is to be proved of orders: name a .vnnlib file after it, or data with --norm"),
        (
            ("predict", "orders", "new.csv"),
            "There is no run 'orders', neither here nor in runs; certnet train makes one.",
        ),
        (("train", "iris", "--loss", "huber:x"), "'huber:x' is none; a number follows in huber:DELTA and quantile:TAU"),
    ],
)
def test_options_that_cannot_be_or_would_do_nothing(certnet: Call, arguments: tuple[str, ...], sentence: str) -> None:
    outcome = certnet(*arguments)
    assert outcome.code == 2
    assert sentence in one_sentence(outcome)
