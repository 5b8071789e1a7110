"""The first sentence about a result: never better than what is proved, and never dressed as more."""

from typing import Any

import pytest

from certnet.runtime.headline import WEAK_GAP, headline, is_weak

TRAINED = {"command": "train", "verdict": "PROVED", "reason": "r", "objective": 2.0, "lower_bound": 1.99, "gap": 0.005}


def test_a_small_gap_is_said_in_words_and_rounded_up() -> None:
    found = headline({**TRAINED, "lower_bound": 1.98999, "gap": 0.005005})
    assert found.level == "strong"
    assert (
        found.text == "No network of any width is better than this one by more than 0.51 % in the training objective."
    )
    assert headline({**TRAINED, "lower_bound": 2.0, "gap": 0.0}).text.endswith(
        "than this one in the training objective."
    )


def test_a_weak_bound_is_not_dressed_as_success() -> None:
    found = headline({**TRAINED, "lower_bound": 0.002, "gap": 0.999})
    assert found.level == "weak"
    assert found.text.startswith("The bound is weak here: a network that is up to 99.90 % better")
    assert "--gamma" in found.text


def test_a_network_without_neurons_is_called_constant() -> None:
    """However good its bound is; and no larger decay is recommended then."""
    for gap, level in ((0.005, "strong"), (0.999, "weak")):
        found = headline({**TRAINED, "lower_bound": 2.0 * (1.0 - gap), "gap": gap, "width": 0})
        assert found.level == level
        assert found.text.startswith("This network has no neurons")
        assert "larger --gamma" not in found.text
        assert "no neurons" not in headline({**TRAINED, "gap": gap, "width": 3}).text


@pytest.mark.parametrize("gap", [None, float("nan"), float("inf"), 1.01 * WEAK_GAP])
def test_what_is_not_known_to_be_small_is_weak(gap: float | None) -> None:
    assert is_weak(gap)


@pytest.mark.parametrize("verdict", ["UNKNOWN", "REFUTED", None, 3, ["PROVED"]])
def test_nothing_but_a_proof_is_called_one(verdict: Any) -> None:
    for command in ("train", "optimality", "check", "lipschitz", "verify", "tightness"):
        found = headline({**TRAINED, "command": command, "verdict": verdict, "reason": "time is up"})
        assert found.level in ("open", "refuted")
        assert "No network" not in found.text


def test_a_poor_network_and_a_poor_bound_are_told_apart() -> None:
    given = {**TRAINED, "command": "optimality", "lower_bound": 0.875, "gap": 0.5625, "balanced_objective": 2.0}
    poor = headline({**given, "neuron": None, "trained": {"objective": 1.0}})
    assert poor.level == "strong"
    assert "one that is 50.0 % better" in poor.text
    assert "by more than 56.25 %" in poor.text
    assert headline({**given, "neuron": None, "trained": None}).level == "weak"


def test_of_two_objectives_that_are_zero_up_to_rounding_none_is_better() -> None:
    given = {**TRAINED, "command": "optimality", "objective": 9e-308, "lower_bound": 0.0, "gap": 9e-18}
    text = headline({**given, "trained": {"objective": 0.0}, "balanced_objective": 9e-308}).text
    assert text.startswith("No network of any width is better than this one by more than")


def test_a_path_names_where_it_is_weak() -> None:
    rows = [{"gamma": 1.0, "verdict": "PROVED", "gap": 2**-10}, {"gamma": 0.01, "verdict": "PROVED", "gap": 0.7}]
    report = {"command": "train", "results": rows, "best": {"gamma": 1.0}, "verdict": "PROVED", "reason": "r"}
    assert headline(report).level == "weak"
    assert "gamma 0.01" in headline(report).text
    assert "by more than 0.10 %" in headline({**report, "results": rows[:1]}).text
    assert headline({**report, "results": [rows[0], {**rows[1], "verdict": "UNKNOWN"}]}).level == "open"


def test_shares_of_an_audit_are_rounded_to_the_safe_side() -> None:
    row = {"radius": 0.1, "certified_accuracy": 2 / 3, "attacked_accuracy": 0.7001}
    report = {"command": "audit", "norm": "linf", "radii": [row], "clean_accuracy": 0.8, "verdict": None, "reason": "r"}
    assert "between 66.6 % and 70.1 %" in headline(report).text
    wide = headline({**report, "radii": [{**row, "certified_accuracy": 0.1}]})
    assert wide.level == "weak"


def test_a_stored_report_may_hold_anything() -> None:
    for command in ("train", "optimality", "check", "lipschitz", "verify", "tightness", "audit", "no such", None):
        for value in (None, "x", [1], {"a": 2}, True):
            names = ("verdict", "gap", "objective", "results", "radii", "relaxation", "trained", "counts", "reason")
            assert headline({"command": command, **dict.fromkeys(names, value)}).text
