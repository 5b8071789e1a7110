"""``certnet train``: losses, biases, weights and the chosen decay, from options to certificate and back."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import read_certificate
from certnet.io.network import TwoLayerNetwork
from certnet.jobs import selection
from tests.cli.support import Call, files, one_sentence

original_choice = selection.select_gamma


@pytest.fixture
def weighted(folder: Path) -> Path:
    """A CSV file with weights, two classes, and small numbers of events."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(30):
        x, z = rng.normal(size=2)
        rows.append(f"{x:.4f},{z:.4f},{k % 3},{1 if x + 0.5 * rng.normal() > 0 else -1},{k % 4 + 0.5}")
    path = folder / "w.csv"
    path.write_text("x,z,events,answer,w\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("options", "loss", "biases", "c"),
    [
        ([], "logistic", ("free", "free"), 1),
        (["--loss", "cross-entropy", "--no-bias"], "cross-entropy", ("none", "none"), 2),
        (["--loss", "squared", "--hidden-bias", "penalised"], "squared", ("penalised", "free"), 2),
        (["--loss", "hinge", "--output-bias", "penalised", "--hidden-bias", "none"], "hinge", ("none", "penalised"), 1),
        (["--target", "events", "--task", "regression"], "squared", ("free", "free"), 1),
        (["--target", "events"], "cross-entropy", ("free", "free"), 3),
        (["--target", "events", "--loss", "poisson"], "poisson", ("free", "free"), 1),
        (["--target", "events", "--loss", "quantile:0.9"], "quantile:0.9", ("free", "free"), 1),
    ],
)
def test_what_is_minimised_is_stated_and_can_be_compared(
    certnet: Call, weighted: Path, options: list[str], loss: str, biases: tuple[str, str], c: int
) -> None:
    target = [] if "--target" in options else ["--target", "answer"]
    report = certnet("train", "w.csv", "--weight-column", "w", *target, *options, "--out", "o", "--json").json
    certificate = read_certificate("o/optimality.cert")
    stated = certificate.loss, (certificate.hidden_bias, certificate.output_bias), certificate.shape[2]
    assert stated == (loss, biases, c)
    assert (report["loss"], (report["hidden_bias"], report["output_bias"])) == (loss, biases)
    assert report["weights"]["least"] == certificate.sample_weight.min() == 0.5
    assert report["verdict"] == "PROVED"
    outcome = certnet("check", "o/optimality.cert", "--data", "w.csv")
    assert outcome.code == 0
    for words in (f"loss         {loss}, ", f"hidden: {biases[0]}; output: {biases[1]}", "column 'w'"):
        assert words in outcome.out
    network = TwoLayerNetwork.load("o/network.npz").network
    assert (network.outputs == c, bool(network.output_bias.any())) == (True, biases[1] != "none")
    assert bool(network.hidden_bias.any()) == (biases[0] != "none")
    # Other weights are other data.
    weighted.write_text(weighted.read_text().replace(",1.5\n", ",1.25\n"))
    assert "about other data" in one_sentence(certnet("check", "o/optimality.cert", "--data", "w.csv"))


@pytest.mark.usefixtures("quick")
def test_balanced_classes_are_compared_too(certnet: Call, weighted: Path) -> None:
    options = ("--target", "answer", "--class-weight", "balanced")
    report = certnet("train", "w.csv", *options, "--out", "o", "--json").json
    assert report["weights"]["sum"] == pytest.approx(report["data"]["n"])
    assert report["weights"]["least"] < 1 < report["weights"]["largest"]
    outcome = certnet("check", "o/optimality.cert", "--data", "w.csv")
    assert outcome.code == 0
    assert "classes count alike" in outcome.out


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_every_gamma_of_a_path_has_the_objective(certnet: Call, weighted: Path) -> None:
    options = ("--target", "answer", "--weight-column", "w", "--class-weight", "balanced", "--loss", "squared-hinge")
    call = ("train", "w.csv", *options, "--gammas", "1,0.1", "--out", "o", "--json")
    assert certnet(*call).code == 0
    one, other = (read_certificate(f"o/gamma_{name}/optimality.cert") for name in ("1", "0.1"))
    for certificate in (one, other):
        assert (certificate.loss, certificate.hidden_bias, certificate.output_bias) == ("squared-hinge", "free", "free")
    np.testing.assert_array_equal(one.sample_weight, other.sample_weight)
    assert "certificate was proved again" in certnet(*call[:-1], "--resume", "o").err
    # Other weights are another problem, which is solved anew.
    other_call = [word for word in call[:-1] if word not in ("--class-weight", "balanced")]
    assert "proved again" not in certnet(*other_call, "--resume", "o").err


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_two_classes_are_audited_with_two_scores(certnet: Call, weighted: Path) -> None:
    weights = ("--target", "answer", "--weight-column", "w")
    report = certnet("train", "w.csv", *weights, "--out", "o", "--json").json
    given = ("optimality", "o/network.npz", "w.csv", *weights, "--gamma", "0.1", "--no-train", "--time-limit", "5")
    again = certnet(*given, "--refit", "--hidden-bias", "free", "--output-bias", "free", "--json").json
    assert again["objective"] == pytest.approx(report["objective"], rel=1e-12)
    assert certnet("check", "runs/optimality/network-w/optimality.cert", "--data", "w.csv").code == 0
    network = TwoLayerNetwork.load("o/network.npz")
    assert (network.network.outputs, network.classes) == (1, ("-1", "1"))
    options = ("--target", "answer", "--weight-column", "w", "--norm", "linf")
    audit = certnet("audit", "o/network.npz", "w.csv", *options, "--radii", "1e-6", "--json", "--quiet").json
    assert audit["clean_accuracy"] == pytest.approx(report["accuracy"]["test"])
    rows = certnet("verify", "o/network.npz", "w.csv", *options, "--radius", "1e-9", "--rows", "0:3", "--json").json
    assert len(rows["results"]) == 3
    relu = network.with_scores()
    X = np.random.default_rng(1).normal(size=(50, 4))[:, : relu.inputs]
    np.testing.assert_array_equal(np.array(["-1", "1"])[relu(X).argmax(axis=1)], network.predict_class(X))
    turned = network.with_scores(("1", "-1"))
    assert (relu(X).argmax(axis=1) == 1 - turned(X).argmax(axis=1)).all()


BAD = {
    "unknown loss": (["--loss", "kl"], "no loss 'kl'; choose squared"),
    "parameter out of its domain": (["--loss", "quantile:1.5"], "lie between 0 and 1"),
    "parameter that is none": (["--loss", "huber:much"], "huber:DELTA"),
    "counts below 0": (["--target", "x", "--loss", "poisson"], "not negative; row"),
    "three classes for two": (["--target", "events", "--loss", "hinge"], "two classes"),
    "classes that are numbers": (["--target", "x", "--loss", "cross-entropy"], "too many for classes"),
    "unknown bias": (["--hidden-bias", "some"], "none, penalised, free"),
    "no bias and one": (["--no-bias", "--output-bias", "free"], "--no-bias excludes"),
    "free constants": (["--output-bias", "none"], "free hidden bias"),
    "absent weights": (["--weight-column", "v"], "no column 'v'"),
    "negative weights": (["--weight-column", "x"], "negative weight"),
    "weights of numbers' classes": (["--target", "x", "--class-weight", "balanced"], "--class-weight"),
    "unknown class weights": (["--class-weight", "heavy"], "must be one of balanced"),
    "a decay in words": (["--gamma", "automatic"], "--gamma must be a number, not 'automatic', or auto"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=[*BAD])
def test_options_that_make_no_sense(certnet: Call, weighted: Path, options: list[str], words: str) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise AssertionError("the work began before the options were checked")

    target = [] if "--target" in options else ["--target", "answer"]
    before = files(weighted.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("certnet.jobs.train.train", absent)
        outcome = certnet("train", "w.csv", *target, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in one_sentence(outcome)
    assert files(weighted.parent) == before


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (["1,a,0", "2,b,0"] * 9, [], "weight 0"),
        (["1,a,1", "2,a,1"] * 9, [], "only one class"),
        (["1,a,1", "2,b,1"] * 9, ["--loss", "absolute"], "not a number"),
        (["1,a,much", "2,b,1"] * 9, [], "not a number"),
    ],
)
def test_data_without_anything_to_learn(
    certnet: Call, folder: Path, rows: list[str], options: list[str], words: str
) -> None:
    (folder / "d.csv").write_text("\n".join(["x,kind,w", *rows]) + "\n")
    outcome = certnet("train", "d.csv", "--weight-column", "w", *options)
    assert outcome.code == 2
    assert words in one_sentence(outcome)


@pytest.mark.usefixtures("quick")
def test_the_decay_is_chosen_shown_and_reported(certnet: Call, weighted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def choice(X: Any, Y: Any, **options: Any) -> selection.Selection:
        given.update(options, X=X, Y=Y)
        return original_choice(X, Y, **options)

    monkeypatch.setattr(selection, "select_gamma", choice)
    call = ("train", "w.csv", "--target", "events", "--task", "regression", "--weight-column", "w", "--json")
    outcome = certnet(*call, "--out", "o")
    found = outcome.json["selection"]
    assert outcome.json["gamma"] == found["gamma"] == read_certificate("o/optimality.cert").gamma
    assert found["losses"][found["gammas"].index(found["gamma"])] == min(found["losses"])
    shown = re.findall(r"γ = (\S+): validation loss", outcome.err)
    assert [float(gamma) for gamma in shown] == found["gammas"]
    assert outcome.json["stages"]["choosing γ"] == pytest.approx(found["seconds"])
    # Test rows are neither trained on nor chosen by; all others are both, but never at once.
    rows = outcome.json["data"]["rows"]
    assert len(given["X"]) == rows["train"] == found["rows"] == 30 - rows["test"]
    assert (given["validation"], rows["validation"], found["folds"]) == (None, None, 5)
    assert outcome.json["mean_squared_error"]["validation"] > 0
    same = certnet(*call, "--out", "again", "--gamma", found["gamma"], "--refit").json
    assert same["selection"] is None
    assert same["objective"] == outcome.json["objective"]
    certnet(*call, "--no-refit", "--out", "apart")
    assert (len(given["X"]), len(given["validation"][0])) == (18, 6)
    assert certnet("check", "o/optimality.cert", "--data", "w.csv").code == 0


@pytest.mark.usefixtures("quick")
def test_ctrl_c_while_the_decay_is_chosen_leaves_a_result(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: Any, **__: Any) -> selection.Selection:
        return selection.Selection((3.0,), (1.0,), 3.0, rows=3, folds=1, complete=False, interrupted=True, seconds=0.1)

    monkeypatch.setattr(selection, "select_gamma", pressed)
    outcome = certnet("train", "iris", "--out", "o", "--json")
    assert outcome.code == 130
    assert outcome.json["interrupted"] is True
    assert outcome.json["gamma"] == 3.0
    assert certnet("check", "o/optimality.cert").code == 0
