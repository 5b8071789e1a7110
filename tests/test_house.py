"""The shape of the house: no import circle, tuning numbers that say what they do, and a size that is looked at."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx

from certnet.runtime.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("formulations", "certificates", "certnet")
NAMESPACE = "certnet"
"""Its names are loaded on first use, from everywhere; so it takes no part in circles."""


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def trees() -> dict[str, ast.Module]:
    return {module: ast.parse(file.read_text()) for module, file in modules().items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """All names of modules that are imported, in functions too; what a type checker alone sees does not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imports(node)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = trees()
    graph = nx.DiGraph()
    for module, tree in known.items():
        for name in imports(tree):
            home = name if name in known else name.rpartition(".")[0]
            if home in known and home not in (module, NAMESPACE):
                graph.add_edge(module, home)
    circles = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    assert circles == []


def settings(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Each number of the tables of tuning numbers in a module, and the sentence below it."""
    for table in ast.walk(tree):
        if isinstance(table, ast.ClassDef) and table.name.endswith("Settings"):
            for node, after in zip(table.body, [*table.body[1:], None], strict=True):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    value = after.value if isinstance(after, ast.Expr) else None
                    text = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
                    yield node.target.id, text


def test_each_tuning_number_says_what_it_does_and_what_was_measured() -> None:
    silent = [
        f"{module}: {name}"
        for module, tree in trees().items()
        for name, sentence in settings(tree)
        if sentence is None or not re.search(r"Measured: |Not measured\.", " ".join(sentence.split()))
    ]
    assert silent == []


LINK = re.compile(r"\[`(\w+)`\]\((\.\./[\w/.]+\.py)\)")


def test_the_page_about_the_house_names_what_is_there() -> None:
    page = ROOT / "docs" / "architecture.md"
    links = LINK.findall(page.read_text())
    assert len(links) > 40
    missing = [
        (name, file)
        for name, file in links
        if not re.search(rf"^ *(?:class|def) {name}\b|^{name}\b", (page.parent / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


DOTTED = re.compile(r"`((?:certnet|certificates|formulations)(?:\.\w+)+)\b[^`]*`")


def test_pages_name_modules_that_are_there() -> None:
    """The module of a dotted name exists and has the name; the changelog, which tells of the past, is left out."""
    known, wrong = modules(), []
    pages = [page for page in (*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")) if page.stem != "changelog"]
    for page in pages:
        for name in DOTTED.findall(page.read_text()):
            parts = name.split(".")
            k = next(k for k in range(len(parts), 0, -1) if ".".join(parts[:k]) in known)
            text = known[".".join(parts[:k])].read_text()
            if parts[k:] and not re.search(rf"\b{parts[k]}\b", text):
                wrong.append((page.name, name))
    assert wrong == []


def test_who_cites_it_cites_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
