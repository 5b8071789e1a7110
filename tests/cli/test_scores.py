"""Figures of networks, against their definitions written out, and where they are shown."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.cli.scores import evaluate
from certnet.io import Recipe
from certnet.io.dataset import Split
from formulations import TrainingProgram
from formulations._validation import FloatArray
from tests.cli.support import Call
from tests.strategies import SEEDS, rng


def made(X: FloatArray, Y: FloatArray, *, by_class: bool) -> Split:
    """A split without validation rows, and with the training rows as test rows."""
    d, c = X.shape[1], Y.shape[1]
    return Split(
        name="d",
        task="classification" if by_class else "regression",
        X=X,
        Y=Y,
        classes=tuple(map(str, range(max(c, 2)))) if by_class else None,
        X_test=X,
        Y_test=Y,
        offset=np.zeros(d),
        scale=np.ones(d),
        recipe=Recipe(source="d"),
    )


@given(SEEDS, st.integers(1, 4), st.booleans())
@settings(max_examples=15)
def test_figures_of_classes_are_what_they_are_called(seed: int, c: int, probable: bool) -> None:
    generator, n, count = rng(seed), 30, max(c, 2)
    label = np.concatenate([np.arange(count), generator.integers(0, count, n - count)])
    X, one_hot = generator.standard_normal((n, 3)), np.eye(count)[label]
    Y = 2.0 * one_hot[:, 1:] - 1.0 if c == 1 else one_hot
    loss = ("logistic" if c == 1 else "cross-entropy") if probable else "squared"
    program = TrainingProgram(X, Y, 1.0, loss=loss, hidden_bias="free", output_bias="free")
    network = SimpleNamespace(U=generator.standard_normal((4, 5)), V=generator.standard_normal((c, 5)))
    network.output = generator.standard_normal(c)
    found = evaluate(made(X, Y, by_class=True), program, network)
    scores = np.maximum(X @ network.U[:-1] + network.U[-1], 0.0) @ network.V.T + network.output
    scores = np.hstack([np.zeros((n, 1)), scores]) if c == 1 else scores
    predicted = scores.argmax(axis=1)
    right = predicted == label
    present = sorted({*label.tolist(), *predicted.tolist()})
    recall = {k: right[label == k].mean() for k in range(count)}
    f1 = {k: 2 * (right & (label == k)).sum() / ((label == k).sum() + (predicted == k).sum()) for k in present}
    expected = {
        "accuracy": right.mean(),
        "balanced_accuracy": np.mean([*recall.values()]),
        "f1": f1.get(1, 0.0) if count == 2 else np.mean([*f1.values()]),
    }
    if probable:
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected["log_loss"] = -np.log(p[np.arange(n), label]).mean()
    else:
        assert found["log_loss"]["train"] is None
    for name, value in expected.items():
        assert found[name]["train"] == found[name]["test"] == pytest.approx(value, rel=1e-9)
        assert found[name]["validation"] is None
    matrix = np.array([[np.sum((label == k) & (predicted == j)) for j in range(count)] for k in range(count)])
    assert found["confusion"] == {"train": matrix.tolist(), "test": matrix.tolist()}
    losses = program.loss.kind.value(scores[:, 1:] if c == 1 else scores, Y)
    worst = found["worst"]["rows"]
    assert [row["loss"] for row in worst] == pytest.approx(np.sort(losses)[::-1][:10])
    assert [row["target"] for row in worst] == [str(label[row["row"]]) for row in worst]
    assert [row["predicted"] for row in worst] == [str(predicted[row["row"]]) for row in worst]


@given(SEEDS, st.integers(1, 3), st.booleans())
@settings(max_examples=15)
def test_figures_of_numbers_are_what_they_are_called(seed: int, c: int, counts: bool) -> None:
    generator = rng(seed)
    X, Y = generator.standard_normal((20, 2)), generator.integers(0, 5, (20, c)).astype(float)
    Y[:2] = [[0.0] * c, [1.0] * c]
    program = TrainingProgram(X, Y, 1.0, loss="poisson" if counts else "squared", output_bias="penalised")
    network = SimpleNamespace(U=generator.standard_normal((2, 4)), V=0.3 * generator.standard_normal((c, 4)))
    network.output = generator.standard_normal(c)
    found = evaluate(made(X, Y, by_class=False), program, network)
    outputs = np.maximum(X @ network.U, 0.0) @ network.V.T + network.output
    error = (np.exp(outputs) if counts else outputs) - Y
    spread = np.sum((Y - Y.mean(axis=0)) ** 2)
    for name, value in (
        ("r2", 1.0 - np.sum(error**2) / spread),
        ("mean_squared_error", np.mean(error**2)),
        ("mean_absolute_error", np.mean(np.abs(error))),
    ):
        assert found[name]["train"] == pytest.approx(value, rel=1e-9)
    assert found["accuracy"] == dict.fromkeys(("train", "validation", "test"))
    pairs = np.array(found["fitted"].get("test", np.zeros((0, 2))))
    assert pairs == pytest.approx(np.hstack([Y, error + Y]) if c == 1 else pairs)
    same = made(X, np.ones_like(Y), by_class=False)
    assert evaluate(same, replace_targets(program, same), network)["r2"]["train"] is None


def replace_targets(program: TrainingProgram, split: Split) -> TrainingProgram:
    """The program of other targets."""
    return TrainingProgram(split.X, split.Y, program.gamma, loss=program.loss.kind, output_bias=program.output_bias)


def test_outputs_that_overflow_have_no_figures() -> None:
    X, Y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    program = TrainingProgram(X, Y, 1.0, loss="poisson")
    network = SimpleNamespace(U=np.ones((1, 1)), V=np.full((1, 1), 1e4), output=np.zeros(1))
    found = evaluate(made(X, Y, by_class=False), program, network)
    assert found["r2"]["train"] is found["mean_squared_error"]["train"] is None
    classes = replace(made(X, np.array([[-1.0], [1.0]]), by_class=True))
    network.V[:] = np.inf
    found = evaluate(classes, TrainingProgram(X, classes.Y, 1.0, loss="logistic"), network)
    assert found["log_loss"]["train"] is None
    assert found["accuracy"]["train"] == 0.5


@pytest.mark.usefixtures("quick")
def test_the_table_shows_what_the_report_holds(certnet: Call, folder: Path) -> None:
    outcome = certnet("train", "breast_cancer", "--json")
    report = outcome.json
    for name, words in (("balanced_accuracy", "balanced accuracy"), ("f1", "F1"), ("log_loss", "log-loss")):
        assert words in outcome.err
        # Validation rows are trained on; what the choice of γ had not learned is not judged by the quick stand-in.
        assert all(0 < report[name][part] < 1 for part in ("train", "test"))
        assert f"{report[name]['test']:.4g}" in outcome.err
    outcome = certnet("train", "breast_cancer", "--task", "regression", "--json", "--out", "o")
    for words in ("R²", "mean squared error", "mean absolute error"):
        assert words in outcome.err
    assert "log_loss" not in outcome.json
