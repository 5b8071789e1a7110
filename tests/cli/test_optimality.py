"""``certnet optimality``: what it writes, what it says, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from certificates import read_certificate
from certnet.cli.optimality import FILES
from certnet.io import Recipe, load
from certnet.io.network import TwoLayerNetwork
from certnet.training import fit
from formulations import TrainingProgram
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from tests.cli.support import Call, files, one_sentence, strict
from tests.interchange.test_arrays import write_safetensors

GAMMA = 0.3
BIAS = ("--hidden-bias", "penalised")


RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(8, 2)) + np.array([1.0, 5.0]), RANDOM.normal(size=(8, 1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoLayerNetwork, FloatArray]:
    """A network with bias for the standardised points, one neuron short of the best, and those points."""
    path = tmp_path_factory.mktemp("data") / "plane.npz"
    np.savez(path, X=X, Y=Y)
    split = load(Recipe(source=str(path), split=False))
    found = fit(TrainingProgram(split.X, Y, GAMMA, hidden_bias="penalised"))
    own = ReluNetwork.of_program(found.U[:, 1:], found.V[:, 1:], hidden_bias=True)
    network = TwoLayerNetwork(own, split.offset, split.scale)
    return network, split.X


@pytest.fixture
def network(folder: Path, made: tuple[TwoLayerNetwork, FloatArray]) -> TwoLayerNetwork:
    """That network as own.npz and the points, with one number each as target, as plane.npz."""
    np.savez(folder / "plane.npz", X=X, Y=Y)
    made[0].save(folder / "own.npz")
    return made[0]


CALL = (
    "optimality",
    "own.npz",
    "plane.npz",
    "--gamma",
    GAMMA,
    "--hidden-bias",
    "penalised",
    "--no-split",
    "--gap",
    0.1,
)


@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_two_files_that_agree_with_each_other(certnet: Call, folder: Path) -> None:
    outcome = certnet(*CALL, "--json", "--out", "o")
    assert outcome.code == 0
    report = outcome.json
    assert files(folder / "o") == sorted(FILES.values())
    assert strict((folder / "o" / "report.json").read_text()) == report
    assert (report["schema"], report["command"], report["verdict"]) == ("certnet/1", "optimality", "PROVED")
    assert report["gap"] == (report["objective"] - report["lower_bound"]) / report["objective"]
    assert report["lower_bound"] == max(report["bounds"].values())
    assert report["trained"]["objective"] < report["objective"]
    assert report["price_ratio"] > 1
    assert report["neuron"]["decrease"] <= report["objective"] - report["trained"]["objective"]
    certificate = read_certificate(folder / "o" / "optimality.cert")
    assert report["data"]["fingerprint"] == certificate.data_fingerprint
    assert (report["data"]["n"], report["data"]["d"], report["data"]["c"]) == certificate.shape == (8, 3, 1)
    again = certnet("check", "o/optimality.cert", "--data", "plane.npz", "--json")
    assert again.code == 0
    assert again.json["objective"] == pytest.approx(report["objective"], rel=1e-12)


@pytest.mark.slow
def test_every_format_of_the_same_network_has_the_same_objective(
    certnet: Call, folder: Path, network: TwoLayerNetwork
) -> None:
    # Other formats know nothing of the standardisation, which is the data's as for certnet train.
    U, V, b = network.network.hidden.T, network.network.output, network.network.hidden_bias
    np.savez(folder / "plain.npz", U=U, V=V, b=b)
    write_safetensors(folder / "torch.safetensors", {"fc1.weight": U.T, "fc1.bias": b, "fc2.weight": V})
    decay = 0.5 * GAMMA * float(np.sum(U**2) + np.sum(V**2) + np.sum(b**2))
    truth = 0.5 * float(np.sum((network.predict(X) - Y) ** 2)) + decay
    for name in ("own.npz", "plain.npz", "torch.safetensors"):
        report = certnet(CALL[0], name, *CALL[2:], "--no-train", "--json", "--quiet").json
        assert report["objective"] == pytest.approx(truth, rel=1e-12)
        assert report["trained"] is None
        assert any("In certnet's terms" in note for note in report["notes"])
        assert not any("folded" in note for note in report["notes"])


@pytest.mark.usefixtures("network")
def test_a_foreign_standardisation_is_folded_in_and_said(certnet: Call) -> None:
    outcome = certnet(*CALL, "--raw", "--no-train", "--nodes", 1, "--time-limit", 1, "--json")
    assert outcome.code == 0
    assert any("folded" in note for note in outcome.json["notes"])
    assert "folded" in outcome.err


@pytest.mark.usefixtures("network")
def test_plain_output_is_a_summary_and_two_paths(certnet: Call) -> None:
    outcome = certnet(*CALL)
    meaning, summary, *paths = outcome.out.splitlines()
    assert "better" in meaning
    assert summary.startswith("PROVED")
    assert paths == [f"runs/optimality/own-plane/{name}" for name in FILES.values()]
    for wanted in ("objective of the network", "largest price", "one more neuron gains", "global training reaches"):
        assert wanted in outcome.err
    assert "\x1b" not in outcome.err + outcome.out


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.npz", "plane.npz", "--gamma", 0.1), "cannot be read"),
        (("net.pt", "plane.npz", "--gamma", 0.1), "safetensors"),
        (("own.npz", "plane.npz"), "gamma"),
        (("own.npz", "plane.npz", "--loss", "cubic", "--gamma", 1), "no loss 'cubic'"),
        (("own.npz", "plane.npz", "--loss", "logistic", "--gamma", 1), "two classes"),
        (("own.npz", "plane.npz", "--loss", "squared", "--torch-loss", "mse", "--gamma", 1), "torch_loss"),
        (("own.npz", "plane.npz", "--torch-loss", "mse"), "weight_decay"),
        (("own.npz", "plane.npz", "--torch-loss", "nll", "--weight-decay", 1), "cross_entropy"),
        (("own.npz", "plane.npz", "--torch-loss", "mse", "--weight-decay", 1, "--optimizer", "AdamW"), "no objective"),
        (("own.npz", "plane.npz", "--weight-decay", 1, "--gamma", 1), "torch_loss"),
        (("own.npz", "plane.npz", "--gamma", -1), "positive"),
        (("own.npz", "plane.npz", "--gamma", 0.1, "--hidden-bias", "none"), "hidden biases"),
        (("own.npz", "iris", "--gamma", 0.1, *BIAS), "4"),
        (("own.npz", "nowhere.npz", "--gamma", 0.1), "nowhere.npz"),
        (("own.npz", "plane.npz", "--gamma", 0.1, *BIAS, "--gap", 2), "gap"),
        (("own.npz", "plane.npz", "--gamma", 0.1, *BIAS, "--nodes", 0), "nodes"),
        (("own.npz", "plane.npz", "--gamma", 0.1, *BIAS, "--time-limit", -1), "--time-limit"),
        (("own.npz", "plane.npz", "--gamma", 0.1, *BIAS, "--out", " "), "--out"),
        (("wide.npz", "plane.npz", "--gamma", 0.1), "outputs"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(arguments: tuple, words: str, certnet: Call, folder: Path) -> None:
    np.savez(folder / "wide.npz", U=np.ones((2, 3)), V=np.ones((4, 3)))
    before = files(folder)
    outcome = certnet("optimality", *arguments, "--json")
    assert outcome.code == 2
    assert words in one_sentence(outcome)
    assert outcome.json["command"] == "optimality"
    assert files(folder) == before


@pytest.mark.usefixtures("network")
def test_ctrl_c_writes_what_is_proved(certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certnet.jobs.stages.fit", interrupted)
    outcome = certnet(*CALL, "--json", "--out", "o")
    assert outcome.code == 130
    assert outcome.json["interrupted"] is True
    assert outcome.json["verdict"] == "PROVED"
    assert outcome.json["price_ratio"] is None
    assert files(folder / "o") == sorted(FILES.values())


def test_terms_of_pytorch_are_converted(certnet: Call, network: TwoLayerNetwork) -> None:
    w = 0.01
    terms = ("--torch-loss", "mse", "--weight-decay", w, "--reduction", "mean", "--optimizer", "SGD")
    short = ("--no-split", "--no-train", "--nodes", 1, "--time-limit", 1)
    outcome = certnet("optimality", "own.npz", "plane.npz", *terms, *short, "--json")
    squares = (network.predict(X) - Y) ** 2
    decay = float(np.sum(network.network.generators**2) + np.sum(network.network.output**2))
    number = float(np.mean(squares)) + 0.5 * w * decay
    report = outcome.json
    assert report["converted"]["number"] == pytest.approx(number, rel=1e-12)
    assert report["objective"] * report["converted"]["factor"] == pytest.approx(number, rel=1e-12)
    assert report["gamma"] == pytest.approx(w * Y.size / 2, rel=1e-12)
    assert (report["hidden_bias"], report["output_bias"]) == ("penalised", "none")
    assert f"weight_decay = {w}" in " ".join(outcome.err.split())


@pytest.mark.slow
def test_labels_and_an_output_bias(certnet: Call, folder: Path) -> None:
    random = np.random.default_rng(1)
    labels = np.where(X[:, 0] > 1.0, "up", "down")
    rows = "\n".join(f"{x},{y},{label}" for (x, y), label in zip(X, labels, strict=True))
    (folder / "points.csv").write_text(f"x,y,label\n{rows}\n")
    W1, b1, W2, b2 = (random.normal(size=shape) for shape in ((3, 2), 3, (1, 3), 1))
    np.savez(folder / "one.npz", W1=W1, b1=b1, W2=W2, b2=b2)
    common = ("points.csv", "--raw", "--no-split", "--no-train", "--time-limit", 1, "--json", "--quiet")
    f = np.maximum(X @ W1.T + b1, 0.0) @ W2.T + b2
    decay = 0.25 * float(np.sum(W1**2) + np.sum(W2**2))
    report = certnet("optimality", "one.npz", *common, "--gamma", 0.5).json
    truth = float(np.sum(np.log1p(np.exp(np.where(labels == "up", -1.0, 1.0) * f[:, 0])))) + decay
    assert report["objective"] == pytest.approx(truth, rel=1e-12)
    assert (report["hidden_bias"], report["output_bias"]) == ("free", "free")
    checked = certnet("check", report["files"]["certificate"], "--data", "points.csv", "--json")
    assert checked.json["objective"] == pytest.approx(truth, rel=1e-12)
    report = certnet("optimality", "one.npz", *common, "--gamma", 0.5, "--class-weight", "balanced").json
    omega = np.where(labels == "up", 4.0 / np.sum(labels == "up"), 4.0 / np.sum(labels == "down"))
    weighted = float(omega @ np.log1p(np.exp(np.where(labels == "up", -1.0, 1.0) * f[:, 0]))) + decay
    assert report["objective"] == pytest.approx(weighted, rel=1e-12)
    np.savez(folder / "two.npz", W1=W1, b1=b1, W2=np.vstack([-W2, W2]), b2=np.append(-b2, b2))
    report = certnet("optimality", "two.npz", *common, "--gamma", 0.5).json
    truth = (
        float(np.sum(np.log1p(np.exp(np.where(labels == "up", -2.0, 2.0) * f[:, 0])))) + decay + 0.25 * np.sum(W2**2)
    )
    assert report["objective"] == pytest.approx(truth, rel=1e-12)
