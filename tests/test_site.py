"""The documentation site builds strictly, needs no other host, and knows every command and public name."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import certnet
from certnet.cli.commands import COMMANDS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
LOADED = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)="(https?:)?//[^"]*"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built with every warning an error: links, anchors, pages in no menu, names that nothing defines."""
    for needed in ("mkdocs", "mkdocstrings", "latex2mathml", "material"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    assert {page.name: LOADED.findall(page.read_text()) for page in pages if LOADED.search(page.read_text())} == {}
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", sheet.read_text())


def test_formulas_are_drawn(site: Path) -> None:
    page = (site / "mathematics.html").read_text()
    text = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<(math|script|style)\b.*?</\1>", "", page, flags=re.DOTALL)))
    assert page.count("<math") > 200
    assert not re.search(r"\\[a-z]+|\$", text)


def test_references_are_complete(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text()
    assert [name for name in COMMANDS if f'id="certnet-{name}"' not in commands] == []
    names = (site / "reference/python.html").read_text()
    missing = [
        name for name in dir(certnet) if not name.startswith("_") and not re.search(rf'id="[\w.]*\b{name}"', names)
    ]
    assert missing == []
