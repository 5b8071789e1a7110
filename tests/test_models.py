"""Models as their tools leave them get a proved gap in one call, about the objective that the tool computes."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import certnet
from certificates import Verdict
from certificates.arithmetic import Arithmetic

N, D = 10, 2
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(N, D)) * np.array([1.0, 3.0])
SCORES = np.maximum(X @ RANDOM.normal(size=(D, 4)), 0.0) @ RANDOM.normal(size=(4, 3)) + 0.3 * RANDOM.normal(size=(N, 3))
PLACE = (SCORES - np.median(SCORES, axis=0)).argmax(axis=1)
THREE = np.array(["fig", "apple", "pear"])[PLACE]


def require_proved(number: float, *call: Any, **options: Any) -> None:
    """The objective is this number, and the gap is proved, also in exact arithmetic."""
    result = certnet.optimality(*call, train=False, max_nodes=1, time_limit=20, **options)
    report, given = result.report, result.given
    assert given is not None
    assert result.notes[:2] == (given.theirs, given.ours)
    assert given.factor * report.objective + given.constant == pytest.approx(number, rel=1e-9)
    assert report.verdict is Verdict.PROVED
    assert 0 < report.lower_bound < report.objective
    assert certnet.check(result.certificate, arithmetic=Arithmetic.EXACT).verdict is Verdict.PROVED


def _fitted(kind: str, y: Any, *steps: Any, **options: Any) -> tuple[float, Any]:
    """scikit-learn's own number and the model."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    from sklearn.pipeline import make_pipeline

    options = {"hidden_layer_sizes": (6,), "alpha": 2.0, "solver": "lbfgs", "random_state": 0, **options}
    last = getattr(neural_network, kind)(**options)
    model = make_pipeline(*steps, last) if steps else last
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    return last.loss_, model


def _scaler() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler()


SKLEARN: dict[str, tuple[Any, Callable[[Any], tuple[float, Any]]]] = {
    "two classes": (SCORES[:, 0] > np.median(SCORES[:, 0]), lambda y: _fitted("MLPClassifier", y)),
    "three classes": (THREE, lambda y: _fitted("MLPClassifier", y)),
    "one target": (SCORES[:, 0], lambda y: _fitted("MLPRegressor", y)),
    "counts": (np.floor(SCORES[:, 0] ** 2), lambda y: _fitted("MLPRegressor", y, loss="poisson")),
    "a pipeline": (THREE, lambda y: _fitted("MLPClassifier", y, _scaler())),
}


SLOW = ("three classes", "one target", "counts", "cross_entropy", "mse")


def _named(names: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.parametrize("name", _named(SKLEARN))
def test_scikit_learn(name: str) -> None:
    y, fit = SKLEARN[name]
    number, model = fit(y)
    require_proved(number, model, X, y)


@pytest.mark.slow
def test_scikit_learn_with_two_targets() -> None:
    """What training follows: the mean over rows of half the sum of squares, and the decay."""
    _, model = _fitted("MLPRegressor", SCORES[:, :2])
    squares = float(np.sum((model.predict(X) - SCORES[:, :2]) ** 2))
    number = (0.5 * squares + sum(float(np.sum(weights**2)) for weights in model.coefs_)) / N
    require_proved(number, model, X, SCORES[:, :2])


@pytest.mark.parametrize("name", _named(["cross_entropy", "bce_with_logits", "mse"]))
def test_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    outputs = {"cross_entropy": 3, "bce_with_logits": 1, "mse": 2}[name]
    y = {
        "cross_entropy": torch.from_numpy(PLACE),
        "bce_with_logits": torch.from_numpy((SCORES[:, :1] > np.median(SCORES[:, 0])).astype(np.float32)),
        "mse": torch.from_numpy(SCORES[:, :2].astype(np.float32)),
    }[name]
    model = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.ReLU(), torch.nn.Linear(8, outputs))
    loss = {
        "cross_entropy": torch.nn.CrossEntropyLoss(),
        "bce_with_logits": torch.nn.BCEWithLogitsLoss(),
        "mse": torch.nn.MSELoss(),
    }[name]
    rows, optimizer = torch.from_numpy(X).float(), torch.optim.Adam(model.parameters(), lr=0.03, weight_decay=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss(model(rows), y).backward()
        optimizer.step()
    with torch.no_grad():
        twin = torch.nn.Sequential(*model).double()
        exact = y if name == "cross_entropy" else y.double()
        number = float(loss(twin(rows.double()), exact)) + 0.01 * sum(float((p**2).sum()) for p in twin.parameters())
    model.float()
    require_proved(number, model, rows, y, torch_loss=loss, optimizer=optimizer)
