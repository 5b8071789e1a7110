"""The documentation site builds strictly, needs no other host, and knows every command and public name."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import certnet
from certnet.cli.commands import COMMANDS
from tests.report.browser import CHROMIUM, DRIVER, browser

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


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and chromedriver")
def test_pages_fit_a_phone_and_ask_nobody(site: Path) -> None:
    pages = [page for page in sorted(site.rglob("*.html")) if "source" not in page.parts and page.name != "404.html"]
    with browser() as shown:
        wide = []
        for page in pages:
            shown.show(page, width=360, height=800)
            if shown.ask("return document.documentElement.scrollWidth") > 360:
                wide.append(page.name)
        complaints = [line["message"] for line in shown.log("browser") if line["level"] == "SEVERE"]
        events = [json.loads(line["message"])["message"] for line in shown.log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert wide == []
    assert complaints == []
    assert [url for url in asked if url.startswith(("http:", "https:", "ws:", "wss:"))] == []
