"""How results show themselves: in a line, in notebooks, and as JSON; and what jobs keep and log of their course."""

import json
import logging
import re
from typing import Any

import numpy as np
import pytest

import certnet
from certnet.runtime import clock as timing
from certnet.runtime.clock import Clock, Event
from certnet.runtime.display import LONGEST, Result
from tests.strategies import rng

X = rng(3).standard_normal((12, 2))
Y = np.where(X[:, :1] > 0, 1.0, -1.0)
FREE = {"hidden_bias": "free", "output_bias": "free"}
EVIL = "<script>"


@pytest.fixture(scope="module")
def results() -> list[Any]:
    """One of each kind that costs little."""
    trained = certnet.train(certnet.TrainingProgram(X, Y, 0.5, loss="logistic", **FREE), gap=0.5)
    network = certnet.TwoLayerNetwork(trained.network, classes=(EVIL, "b"))
    scores, labels = network.with_scores(), (Y[:, 0] > 0).astype(int)
    region = certnet.InputRegion.linf(X[0], 0.01)
    return [
        trained,
        network,
        certnet.optimality(trained.network, X, Y, loss="logistic", gamma=0.5, train=False, gap=0.9, **FREE),
        certnet.prediction_range(trained.certificate, trained.report),
        certnet.select_gamma(X, Y, time_limit=0.1),
        certnet.audit(scores, X[:3], labels[:3], norm="linf", radii=[0.01]),
        certnet.verify(scores, certnet.keeps_class(scores, region, int(labels[0]))),
        certnet.lipschitz_constant(scores, np.eye(2)),
        certnet.PathResult((0.5,), (trained,), 1.0),
        certnet.measure_tightness(trained.certificate, time_limit=1.0),
    ]


def test_results_show_themselves_in_a_line_and_a_table(results: list[Any]) -> None:
    for result in results:
        name, line, html = type(result).__name__, repr(result), result._repr_html_()
        assert line.startswith(f"{name}(")
        assert line.endswith(")")
        assert "\n" not in line
        assert len(line) < 400
        assert "array(" not in line + html
        assert EVIL not in html
        assert f"<code>{name}</code>" in html
        assert all(words in line for words in result.shown())


def test_results_are_objects_of_json(results: list[Any]) -> None:
    for result in results:
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False)) == result.to_dict()


def test_bounds_are_never_shown_better_than_they_are(results: list[Any]) -> None:
    trained = results[0]
    shown = trained.shown()
    assert float(shown["lower bound"]) <= trained.report.lower_bound
    assert float(shown["objective"]) >= trained.report.objective
    said = re.match(r"The bound is weak here: a network that is up to ([0-9.]+) % better", trained.message())
    assert said is not None
    assert 100.0 * trained.report.gap <= float(said[1]) <= 100.0 * trained.report.gap + 0.02


def test_results_of_training_have_a_course(results: list[Any]) -> None:
    trained = results[0]
    moments = trained.history
    assert moments
    assert [moment.to_dict() for moment in moments] == trained.to_dict()["history"]
    seconds = [moment.seconds for moment in moments]
    assert seconds == sorted(seconds)
    known = [moment.objective for moment in moments if moment.objective is not None]
    assert known == sorted(known, reverse=True)
    assert known[-1] == pytest.approx(trained.report.objective)


def test_long_figures_are_cut() -> None:
    class Long(Result):
        def to_dict(self) -> dict[str, Any]:
            return {"loss": "x" * 1000}

    assert len(repr(Long())) < LONGEST + 20


def test_a_history_is_short_and_ends_with_the_last_moment() -> None:
    clock = Clock(None)
    for step in range(5000):
        clock.tell("a", objective=10000.0 - step, lower_bound=float(step))
        clock.tell("a")  # says nothing new
    moments = clock.history
    assert len(moments) <= timing.MOMENTS
    assert (moments[0].objective, moments[-1].objective) == (10000.0, 5001.0)
    steps = np.diff([moment.lower_bound for moment in moments])
    assert steps.max() <= 100
    clock.tell("b", iteration=3)
    assert clock.history == moments


def test_events_are_logged_and_nothing_is_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Event] = []
    clock = Clock(None, heard.append)
    assert logging.getLogger("certnet").handlers == []
    with caplog.at_level(logging.DEBUG, logger="certnet"):
        clock.tell("training", objective=2.5)
        clock.note("training", "100 % is said")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO"]
    assert "objective 2.5" in caplog.messages[0]
    assert caplog.messages[1] == "100 % is said"
    assert len(heard) == 2
    assert capfd.readouterr() == ("", "")
