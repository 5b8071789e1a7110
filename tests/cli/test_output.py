"""All files or none, strict JSON, and figures that are never rounded to the wrong side."""

import io
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from certificates.report import SMALLEST, relative_gap
from certnet.cli.show import Live, describe, figures_table, stderr_console, tell
from certnet.io.network import TwoLayerNetwork
from certnet.io.output import OutputFolder, json_writer
from certnet.jobs.train import Event
from certnet.runtime.streams import strict_json
from certnet.runtime.wording import bounds, down, percent, up
from formulations import InputError
from formulations.network import ReluNetwork
from tests.cli.support import files
from tests.strategies import TEXTS


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    folder = OutputFolder.prepare(tmp_path / "a" / "b")
    assert files(tmp_path) == ["a", "a/b"]

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        folder.write({"one": json_writer({}), "two": fail})
    assert files(tmp_path) == ["a", "a/b"]
    assert folder.write({"one": json_writer({"x": 1})}) == {"one": tmp_path / "a" / "b" / "one"}
    assert files(tmp_path) == ["a", "a/b", "a/b/one"]


def test_an_interruption_while_writing_leaves_nothing(tmp_path: Path) -> None:
    folder = OutputFolder.prepare(tmp_path)

    def stop(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.write({"one": json_writer({}), "two": stop})
    assert files(tmp_path) == []


def test_only_folders_that_were_made_and_are_empty_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    folder = OutputFolder.prepare(tmp_path / "old" / "new" / "deep")
    folder.discard()
    assert files(tmp_path) == ["old"]
    OutputFolder.prepare(tmp_path / "old").discard()
    assert files(tmp_path) == ["old"]
    kept = OutputFolder.prepare(tmp_path / "new")
    kept.write({"one": json_writer({})})
    kept.discard()
    assert files(tmp_path) == ["new", "new/one", "old"]


def test_names_of_files_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2J[red]\u202e"
    tell(name)
    stderr_console().print(figures_table(name, [(name, name)]))
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert shown.count("\\x1b[2J[red]\\u202e") == 4


def test_a_network_that_cannot_be_saved_is_one_sentence(tmp_path: Path) -> None:
    folder = OutputFolder.prepare(tmp_path)
    network = TwoLayerNetwork(ReluNetwork.of_program(np.ones((1, 1)), np.ones((1, 1))))
    with pytest.raises(InputError, match=r"cannot be written to .*--out"):
        folder.write({"network.npz": lambda path: network.save(path.parent / "absent" / path.name)})
    assert files(tmp_path) == []


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
        max_leaves=20,
    )
)
def test_json_has_no_nan_and_keeps_the_rest(value: object) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    def expected(entry: object) -> object:
        if isinstance(entry, float) and not math.isfinite(entry):
            return None
        if isinstance(entry, list):
            return [expected(part) for part in entry]
        if isinstance(entry, dict):
            return {key: expected(part) for key, part in entry.items()}
        return entry

    assert json.loads(strict_json({"value": value}), parse_constant=refuse) == {"value": expected(value)}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_shown_bounds_enclose_the_true_ones(value: float) -> None:
    assert Decimal(down(value)) <= Decimal(value) <= Decimal(up(value))
    assert Decimal(up(value)) - Decimal(down(value)) <= abs(Decimal(value)) / 10**5


@given(st.floats(-10, 10))
def test_a_shown_gap_is_never_too_small(value: float) -> None:
    shown = Decimal(percent(value).removesuffix(" %"))
    assert 0 <= shown - 100 * Decimal(value) <= Decimal("0.01")


@given(st.floats(0, 1e9, exclude_min=True), st.floats(0, 1))
@example(1000001.0, 1.0)
def test_a_shown_gap_is_that_of_the_shown_figures(objective: float, share: float) -> None:
    bound = min(share * objective, objective)
    above, below, gap = bounds({"objective": objective, "lower_bound": bound, "gap": relative_gap(objective, bound)})
    least = 100 * (Decimal(above) - Decimal(below)) / max(Decimal(above), Decimal(SMALLEST))
    assert -(Decimal(10) ** -20) <= Decimal(gap.removesuffix(" %")) - least <= Decimal("0.01")


def test_a_gap_from_zero_is_the_whole() -> None:
    assert bounds({"objective": 45 * (1 + 1e-12), "lower_bound": 2.0**-52, "gap": 1.0}) == (
        "45.0001",
        "2.22044e-16",
        "100.00 %",
    )


def test_a_huge_gap_is_shown() -> None:
    assert percent(1e40) == "1.00001e+42 %"


def test_missing_figures_are_dashes() -> None:
    assert [down(None), up(float("inf")), down(float("nan")), percent(None)] == ["—"] * 4


def test_an_event_in_one_line() -> None:
    line = describe(Event("relaxation", 1.25, iteration=7, objective=4.0, lower_bound=3.0, rank=2))
    assert line == "relaxation · 1.2 s · iteration 7 · bound 3 · objective 4 · gap 25.00 % · rank 2"
    assert describe(Event("presolve", 0.0)) == "presolve · 0.0 s"
    assert describe(Event("x", 1.0, time_left=48.7, residual=1.24e-3)) == "x · 1.0 s · 49 s left · residual 1.2e-03"


def shown(*events: Event, terminal: bool, enabled: bool = True, every: float = 30.0, limit: float | None = None) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    with Live(console, enabled=enabled, every=every, time_limit=limit) as live:
        for event in events:
            live(event)
    return stream.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which colours and redrawn lines are welcome."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_one_line_that_is_drawn_anew() -> None:
    event = Event("rounding [x]", 1.0, objective=4.0, lower_bound=3.0)
    text = shown(event, terminal=True, limit=50.0)
    assert "\x1b" in text
    for words in ("rounding [x]", "0:00:0", "50 s left", "bound 3 · objective 4 · gap 25.00 %"):
        assert words in text
    assert "left" not in shown(event, terminal=True)
    assert shown(event, terminal=True, enabled=False) == ""


@pytest.mark.usefixtures("terminal")
def test_where_nobody_watches_a_plain_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Event("relaxation [x]", float(second), iteration=second) for second in range(3)]
    every_line = "".join(f"{describe(event)}\n" for event in events)
    assert shown(*events, terminal=False) == ""
    assert shown(*events, terminal=False, every=0.0) == every_line
    assert shown(*events, terminal=False, every=0.0, enabled=False) == ""
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert shown(*events, terminal=True, every=0.0) == every_line


def test_plain_lines_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("certnet.cli.show.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    with Live(Console(file=stream, width=120), enabled=True) as live:
        for second in range(100):
            now[0] = float(second)
            live(Event("relaxation", now[0]))
    assert stream.getvalue() == "".join(f"relaxation · {second}.0 s\n" for second in (30, 60, 90))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("terminal_kind", [True, False])
def test_notes_are_said_at_once_and_stay(terminal_kind: bool) -> None:
    note = Event("presolve", 0.0, note="auto chose [admm], because n = 300.")
    assert "auto chose [admm], because n = 300.\n" in shown(note, terminal=terminal_kind)
    assert shown(note, terminal=terminal_kind, enabled=False) == ""


@settings(max_examples=200)
@given(st.floats(1e-8, 1e8), st.floats(-16, 0), st.booleans())
def test_the_gap_is_that_of_the_figures_as_shown(objective: float, exponent: float, closed: bool) -> None:
    bound = objective if closed else objective * (1.0 - 10.0**exponent)
    gap = (objective - bound) / objective
    above, below, shown = bounds({"objective": objective, "lower_bound": bound, "gap": gap})
    assert Decimal(below) <= Decimal(bound) <= Decimal(objective) <= Decimal(above)
    percentage = Decimal(shown.removesuffix(" %"))
    assert percentage >= 100 * Decimal(gap) * (1 - Decimal("1e-15"))
    from_figures = 100 * (1 - Decimal(below) / Decimal(above))
    if gap:
        assert from_figures <= percentage <= from_figures * Decimal("1.1") + Decimal("0.01")


def test_events_of_a_part_name_it_and_what_is_known_of_the_others() -> None:
    stream = io.StringIO()
    live = Live(Console(file=stream, width=200), enabled=True, every=0.0)
    live.part("row 3", 0.0, "2 unsat")(Event("bounds", 1.0, time_left=5.0, known="1 of 2 cases"))
    line = stream.getvalue()
    assert line.startswith("row 3: bounds · ")
    assert line.endswith(" · 2 unsat · 1 of 2 cases\n")
    assert "left" not in line
