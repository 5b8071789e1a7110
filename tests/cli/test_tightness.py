"""``certnet tightness``: exit codes, JSON, and folders that are no runs."""

from pathlib import Path

import numpy as np
import pytest

from certificates import read_certificate, write_certificate
from tests.certificates.altering import replace
from tests.cli.support import Call, files, one_sentence


@pytest.fixture
def loose(certnet: Call, quick: None) -> Path:
    """A run whose relaxation is far from exact."""
    rng = np.random.default_rng(0)
    np.savez("loose.npz", X=rng.standard_normal((8, 2)), Y=rng.standard_normal((8, 2)))
    arguments = ("--task", "regression", "--raw", "--no-split", "--no-bias", "--gamma", "0.1", "--quiet")
    assert certnet("train", "loose.npz", *arguments).code == 0
    return Path("runs/loose")


@pytest.fixture
def tight(certnet: Call, quick: None) -> Path:
    """A run whose relaxation is exact."""
    rng = np.random.default_rng(1)
    np.savez("tight.npz", X=rng.standard_normal((5, 2)), Y=rng.standard_normal((5, 1)))
    arguments = ("--task", "regression", "--raw", "--no-split", "--no-bias", "--gamma", "1", "--quiet")
    assert certnet("train", "tight.npz", *arguments).code == 0
    return Path("runs/tight")


def test_a_loose_relaxation(certnet: Call, loose: Path) -> None:
    before = files(Path())
    outcome = certnet("tightness", loose, "--json", "--quiet", "--time-limit", "10")
    assert outcome.code == 3
    assert outcome.err == ""
    report = outcome.json
    assert (report["schema"], report["command"], report["verdict"]) == ("certnet/1", "tightness", "UNKNOWN")
    assert report["complete_positivity"]["verdict"] == "REFUTED"
    assert report["relaxation"]["lower_bound"] <= report["lower_bound"] <= report["objective"]
    assert 0 < report["complete_positivity"]["distance"] <= report["complete_positivity"]["residual"]
    assert report["complete_positivity"]["separator"]["inner_product"] < 0
    assert report["spectrum"]["values"][0] == 1.0
    assert report["gap"] >= 0.01
    assert files(Path()) == before


def test_an_exact_relaxation_with_its_table(certnet: Call, tight: Path) -> None:
    outcome = certnet("tightness", tight, "--time-limit", "10")
    assert outcome.code == 0
    meaning, verdict = outcome.out.splitlines()
    assert meaning.startswith("The relaxation is exact here")
    assert verdict.startswith("PROVED: ")
    for row in ("proved bound on the relaxation", "rank of its solution", "true points", "completely positive"):
        assert row in outcome.err
    assert certnet("tightness", tight / "optimality.cert", "--quiet", "--tolerance", "1e-3").code == 0


def test_a_certificate_that_is_not_proved(certnet: Call, loose: Path) -> None:
    path = loose / "optimality.cert"
    certificate = read_certificate(path)
    write_certificate(path, replace(certificate, W=3.0 * certificate.W))
    outcome = certnet("tightness", loose, "--json", "--quiet")
    assert outcome.code == 2
    assert "not proved" in one_sentence(outcome)
    assert (outcome.json["command"], outcome.json["verdict"]) == ("tightness", None)


@pytest.mark.parametrize("content", ["absent", "empty", "text", "truncated"])
def test_folders_that_are_no_runs(certnet: Call, loose: Path, content: str) -> None:
    path = loose / "optimality.cert"
    whole = path.read_bytes()
    if content == "absent":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"bound = 7\n", "truncated": whole[: len(whole) // 2]}[content])
    outcome = certnet("tightness", loose)
    assert (outcome.code, outcome.out) == (2, "")
    assert "optimality.cert" in one_sentence(outcome)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--time-limit", "-1", "0 for no limit"),
        ("--tolerance", "0", "--tolerance"),
        ("--solver", "magic", "no solver 'magic'"),
    ],
)
def test_options_that_make_no_sense(certnet: Call, loose: Path, option: str, value: str, words: str) -> None:
    outcome = certnet("tightness", loose, option, value)
    assert outcome.code == 2
    assert words in one_sentence(outcome)
