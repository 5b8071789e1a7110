"""The page about runs: it says what is proved, holds what a run folder holds as text only, and needs nothing else."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import read_certificate, write_certificate
from certnet.io.runs import Run, read_run
from certnet.report import page
from certnet.report.proof import proved
from certnet.report.sections import TEXT, between, text
from certnet.runtime.wording import entries, figure, mapping, number
from formulations import InputError
from tests.certificates.altering import replace
from tests.report.conftest import EVIL
from tests.strategies import TEXTS


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def html(runs: dict[str, Run]) -> str:
    return page([*runs.values()])


def copied(run: Run, folder: Path, **changes: Any) -> Run:
    """The run in another folder, with other fields in its report."""
    place = folder / "copy"
    shutil.copytree(run.path, place)
    report = json.loads((place / "report.json").read_text()) | changes
    (place / "report.json").write_text(json.dumps(report))
    return read_run(place)


def test_what_a_run_holds_is_text(html: str) -> None:
    assert EVIL not in html
    assert "<b>two</b>" not in html
    elements = Elements(html)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "iframe", "object", "embed", "form", "b"}
    assert EVIL in "".join(elements.words)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]


def test_the_page_asks_for_nothing(html: str) -> None:
    for _, attributes in Elements(html).found:
        for name in ("href", "src", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    assert not re.search(r"@import|https?://(?!www\.w3\.org)", html)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_ids_occur_once_and_pictures_have_words(html: str) -> None:
    elements = Elements(html).found
    ids = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert max(ids.values()) == 1
    pictures = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(pictures) >= 8
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert all(name in ids for name in str(attributes["aria-labelledby"]).split())
    for target in re.findall(r'(?:href="|url\()#([^")]*)', html):
        assert target in ids


def test_it_shows_the_figures_and_how_to_prove_them(runs: dict[str, Run], html: str) -> None:
    run = runs["numbers"]
    words = " ".join("".join(Elements(html).words).split())
    report = run.report
    assert f"certnet check {run.path}" in words
    assert "--data numbers.csv" in words
    assert report["headline"] in words
    assert f"{report['r2']['test']:.4g}" in words
    for part in ("Predictions over targets", "Bound and objective over time", "Recipe of the data", "Environment"):
        assert part in words


def test_several_runs_are_compared_first(html: str) -> None:
    words = "".join(Elements(html).words)
    assert words.index("Comparison") < words.index("The theorem")
    assert "objectives are not compared" in words  # two data sets


def test_the_checker_has_the_last_word(runs: dict[str, Run], tmp_path: Path) -> None:
    true = runs["numbers"].report
    lying = copied(runs["numbers"], tmp_path, lower_bound=1e6, gap=0.0, objective=1e6, verdict="PROVED")
    found = proved(lying)
    assert found.remarks[0].startswith("report.json states another objective, lower bound, gap than its certificate")
    for name in ("objective", "lower_bound", "gap"):
        assert found.report[name] == true[name]
    (lying.path / "optimality.cert").unlink()
    words = "".join(Elements(page(lying.path)).words)
    assert "nothing is proved here" in words
    assert "1e+06" not in words
    assert "The theorem" not in words
    assert "Proved" not in words


def test_a_certificate_that_proves_nothing_is_not_drawn(runs: dict[str, Run], tmp_path: Path) -> None:
    run = copied(runs["numbers"], tmp_path)
    certificate = read_certificate(run.path / "optimality.cert")
    larger = replace(certificate, W=1e3 * certificate.proofs[0].W, U=np.full_like(certificate.U, np.nan))
    write_certificate(run.path / "optimality.cert", larger)
    found = proved(run)
    assert found.remarks[0].startswith("The certificate proves nothing: ")
    assert (found.certificate, found.network, found.report["lower_bound"]) == (None, None, None)
    (run.path / "optimality.cert").write_bytes(b"PK")
    found = proved(run)
    assert "truncated or damaged" in found.remarks[0]
    assert found.report["verdict"] == "UNKNOWN"


def test_an_audit_is_what_its_run_reports(runs: dict[str, Run], html: str, tmp_path: Path) -> None:
    assert proved(runs["audit"]).check is None
    lying = proved(copied(runs["audit"], tmp_path, objective=2.0, lower_bound=1.9, gap=0.05))
    assert {lying.report[name] for name in ("objective", "lower_bound", "gap")} == {None}
    words = "".join(Elements(html).words)
    assert words.count("As the run reports; not proved again here") == 1
    assert "Accuracy by radius" in words


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
WORDS = """data history confusion worst fitted selection spectrum rank relaxation branching stages versions notes
accuracy r2 radii classes inputs clean_accuracy norm bounds"""
FIELDS = WORDS.split()
COMMANDS = ("train", "audit", "optimality", "?")


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), JUNK, min_size=1), st.sampled_from(COMMANDS))
@settings(max_examples=20, deadline=None)
def test_no_report_breaks_the_page(runs: dict[str, Run], fields: dict[str, Any], command: str) -> None:
    run = runs["audit"]
    report = {**run.report, **fields, "command": command}
    found = page(Run(run.path, report, None, None))
    assert found.rstrip().endswith("</html>")


@given(JUNK)
@settings(max_examples=12)
def test_words_are_short_and_whole(value: Any) -> None:
    assert len(text(value)) <= TEXT
    assert isinstance(figure(value), str)
    assert number(value) is None or isinstance(number(value), int | float)
    assert mapping(value) == (value if isinstance(value, dict) else {})
    assert len(entries([value] * 1000)) < 1000


def test_long_texts_are_cut_and_control_characters_go() -> None:
    assert len(text("x" * 10**6)) == TEXT
    assert text("a\x00\u202eb") == "a  b"
    assert text(10**400) != ""


def test_pages_are_about_one_to_fifty_runs(runs: dict[str, Run]) -> None:
    with pytest.raises(InputError, match="1 to 50 runs, not 0"):
        page([])
    with pytest.raises(InputError, match="not 51"):
        page([runs["numbers"]] * 51)


@pytest.mark.slow
def test_equal_runs_give_equal_pages(runs: dict[str, Run]) -> None:
    pages = [re.sub(r"arithmetic, [^)]*\)", "", page(runs["evil"])) for _ in range(2)]
    assert pages[0] == pages[1]


def test_shares_of_rows_that_are_bounds_are_shown_no_better_than_they_are() -> None:
    cell = {"certified_accuracy": 0.9996, "attacked_accuracy": 0.9997}
    assert between(cell) == "99.9 % to 100.0 %"
    assert between({**cell, "attacked_accuracy": 0.9996}) == "99.9 %"
    assert between({}) == between({"certified_accuracy": 10**30, "attacked_accuracy": 10**30}) == "—"
