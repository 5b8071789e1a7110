"""What comes out without any option is a good model with a proof."""

from pathlib import Path

import numpy as np
import pytest

from certificates import check, read_certificate
from certnet.jobs import selection
from tests.cli.support import Call

original_choice = selection.select_gamma


@pytest.fixture(autouse=True)
def _true_choice(_quick_choice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "select_gamma", original_choice)


@pytest.mark.slow
def test_iris_is_learnt_and_proved(certnet: Call) -> None:
    outcome = certnet("train", "iris", "--time-limit", "60", "--json")
    assert outcome.code == 0
    report = outcome.json
    assert report["accuracy"]["test"] >= 0.93
    assert report["gap"] <= 1e-3
    certificate = read_certificate("runs/iris/optimality.cert")
    assert (certificate.loss, certificate.hidden_bias, certificate.output_bias) == ("cross-entropy", "free", "free")
    assert check(certificate).lower_bound == report["lower_bound"]


@pytest.mark.slow
def test_a_smooth_function_of_one_feature_is_learnt(certnet: Call, folder: Path) -> None:
    """Targets far from 0 are no harder, because the output bias is free."""
    x = np.random.default_rng(0).uniform(-3, 3, 100)
    rows = "".join(f"{a!r},{b!r}\n" for a, b in zip(x.tolist(), (np.sin(2 * x) + 100.0).tolist(), strict=True))
    (folder / "sin.csv").write_text(f"x,y\n{rows}")
    outcome = certnet("train", "sin.csv", "--json", "--time-limit", "60")
    assert outcome.code == 0
    report = outcome.json
    assert (report["loss"], report["data"]["task"]) == ("squared", "regression")
    assert report["r2"]["test"] >= 0.95
    assert report["mean_absolute_error"]["test"] <= 0.15
    assert report["lower_bound"] > 0
