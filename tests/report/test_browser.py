"""The page in headless Chromium: no message, no request, nothing wider than the window, and text that can be read."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from certnet.io.runs import Run
from certnet.report import page
from tests.report.browser import CHROMIUM, DRIVER, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver"),
]

LEAST_CONTRAST = 4.5
CONTRASTS = """
const shade = (text) => { const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  c.fillStyle = text; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].map(v => v / 255); };
const over = (a, b) => a.slice(0, 3).map((v, k) => v * a[3] + b[k] * (1 - a[3]));
const light = (c) => { const [r, g, b] = c.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (one) => { const layers = []; for (let e = one; e; e = e.parentElement) {
  const c = shade(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
  return layers.reverse().reduce((below, c) => over(c, below), [1, 1, 1]); };
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, one = node.parentElement;
  if (!node.data.trim() || one.closest('title, desc, style')) continue;
  const style = getComputedStyle(one), back = behind(one);
  const colour = one.closest('svg') ? style.fill : style.color;
  const [a, b] = [light(over(shade(colour), back)), light(back)];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.data.trim().slice(0, 40), colour]);
}
return found.sort((x, y) => x[0] - y[0]).slice(0, 5);
"""
WIDE = """
return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .formula, pre, svg'))
  .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 80));
"""


NAMES = """
return [...document.querySelectorAll('svg, [role=img], [role=region]')].map(e => e.getAttribute('aria-label')
  || document.getElementById(e.getAttribute('aria-labelledby')?.split(' ')[0])?.textContent || '');
"""


@pytest.fixture(scope="module")
def pages(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A page of each run, and one of all."""
    folder = tmp_path_factory.mktemp("html")
    texts = {name: page(run) for name, run in runs.items()} | {"all": page([*runs.values()])}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_no_message_and_no_request(chromium: Browser, pages: list[Path]) -> None:
    for file in pages:
        for kind in ("browser", "performance"):
            chromium.log(kind)  # what the page before has said
        chromium.show(file)
        assert chromium.log("browser") == []
        events = [entry["message"] for entry in chromium.log("performance")]
        asked = [message for message in events if '"Network.requestWillBeSent"' in message]
        assert all('"url":"file:' in message or '"url":"data:' in message for message in asked), asked
        assert chromium.ask("return document.querySelectorAll('svg.plot').length") > 0


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(chromium: Browser, pages: list[Path], width: int) -> None:
    for file in pages:
        chromium.show(file, width=width)
        assert chromium.ask("return document.documentElement.scrollWidth") <= width, file
        assert chromium.ask(WIDE) == [], file


@pytest.mark.parametrize(("dark", "media"), [(False, ""), (True, ""), (False, "print"), (True, "print")])
def test_text_can_be_read(chromium: Browser, pages: list[Path], dark: bool, media: str) -> None:
    """On the page of all runs, which holds the parts of the others."""
    chromium.show(pages[0], dark=dark, media=media)
    worst = chromium.ask(CONTRASTS)
    assert worst[0][0] >= LEAST_CONTRAST, worst


def test_pictures_follow_light_and_dark(chromium: Browser, pages: list[Path]) -> None:
    colours = []
    for dark in (False, True):
        chromium.show(pages[0], dark=dark)
        colours.append(chromium.ask("return getComputedStyle(document.querySelector('svg.plot text')).fill"))
    assert colours[0] != colours[1]


def test_tables_and_pictures_have_names(chromium: Browser, pages: list[Path]) -> None:
    for file in pages:
        chromium.show(file)
        names = chromium.ask(NAMES)
        assert names
        assert all(names), file
        levels = chromium.ask("return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), levels
