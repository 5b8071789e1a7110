"""Sentences name options that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

import certnet
from certnet.cli.app import app

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


def options(command: str) -> set[str]:
    """The long options of a command, and those of the program."""
    program = typer.main.get_command(app)
    found = [*program.params, *program.commands[command].params]
    return {name for parameter in found for name in parameter.opts if name.startswith("--")} | {"--help"}


def _sentences(tree: ast.AST) -> Iterator[str]:
    """Texts of several words that are no docstrings."""
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in notes else None
        if isinstance(text, str) and " " in text.strip():
            yield text


def test_every_option_in_a_sentence_exists_on_some_command() -> None:
    known = set().union(*(options(name) for name in typer.main.get_command(app).commands))
    files = sorted(Path(certnet.__file__).parent.rglob("*.py"))
    named = {
        (option, file.name)
        for file in files
        for text in _sentences(ast.parse(file.read_text(encoding="utf-8")))
        for option in OPTION.findall(text)
    }
    assert len(named) > 30
    assert {(option, name) for option, name in named if option not in known} == set()
