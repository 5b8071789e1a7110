"""scikit-learn: the objective read from a fitted model is the one that scikit-learn itself computes and follows."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from certnet.io.given import Given
from certnet.io.objectives import objective_of
from formulations import InputError
from formulations._validation import FloatArray

sklearn = pytest.importorskip("sklearn")
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler  # noqa: E402

RANDOM = np.random.default_rng(0)
N, D = 60, 3
X = RANDOM.normal(size=(N, D)) * np.array([1.0, 5.0, 0.2]) + 1.0
SCORES = np.maximum(X @ RANDOM.normal(size=(D, 4)), 0.0) @ RANDOM.normal(size=(4, 3)) + RANDOM.normal(size=(N, 3))
THREE = np.array(["fig", "apple", "pear"])[SCORES.argmax(axis=1)]
WEIGHTS = RANDOM.uniform(0.2, 3.0, size=N)
SETTINGS = {"hidden_layer_sizes": (8,), "alpha": 0.7, "solver": "lbfgs", "max_iter": 60, "random_state": 0}


def classifier(**changes: Any) -> Any:
    return MLPClassifier(**{**SETTINGS, **changes})


def regressor(**changes: Any) -> Any:
    return MLPRegressor(**{**SETTINGS, **changes})


def fitted(model: Any, *data: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data)


def own(mlp: Any, rows: FloatArray, Y: FloatArray, weights: FloatArray | None = None) -> tuple[float, list[FloatArray]]:
    """The objective and its gradients at the fitted weights, by scikit-learn's own function."""
    sizes = [D, 8, Y.shape[1]]
    mlp._random_state = np.random.RandomState(0)
    empty = [np.empty((len(rows), size)) for size in sizes[1:]]
    return_of: Any = mlp._backprop(rows, Y, weights, [rows, *empty], [*map(np.copy, empty)], [0, 0], [0, 0])
    value, coefs, intercepts = return_of
    return float(value), [*coefs, *intercepts]


def gradients(given: Given) -> list[FloatArray]:
    """The gradient of factor·objective in the same order, by the formula for W = −∇ of the loss."""
    program, (U, V, a) = given.program, given.weights()
    pre, W = program.X @ U, program.dual(U, V, a)
    dU = -program.X.T @ ((W @ V) * (pre > 0)) + program.gamma * program.penalised[:, None] * U
    dV = -W.T @ np.maximum(pre, 0.0) + program.gamma * V
    return [given.factor * part for part in (dU[:-1], dV.T, dU[-1], -W.sum(axis=0))]


def binary(labels: Any, positive: Any) -> FloatArray:
    return (np.asarray(labels) == positive).astype(float)[:, None]


CASES: dict[str, tuple[Callable[[], Any], Any, FloatArray]] = {
    "two classes": (classifier, np.where(THREE == "fig", "yes", "no"), binary(THREE, "fig")),
    "two numbers for classes": (classifier, np.where(THREE == "fig", 7, 2), binary(THREE, "fig")),
    "truth values": (classifier, THREE == "fig", binary(THREE, "fig")),
    "three classes": (classifier, THREE, np.hstack([binary(THREE, name) for name in ("apple", "fig", "pear")])),
    "labels at once": (classifier, (SCORES > 0).astype(int), (SCORES > 0).astype(float)),
    "one number": (regressor, SCORES[:, 0], SCORES[:, :1]),
    "one column": (regressor, SCORES[:, :1], SCORES[:, :1]),
    "counts": (lambda: regressor(loss="poisson"), np.floor(SCORES[:, 0] ** 2), np.floor(SCORES[:, :1] ** 2)),
    "two counts": (lambda: regressor(loss="poisson"), np.floor(SCORES[:, :2] ** 2), np.floor(SCORES[:, :2] ** 2)),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_objective_is_the_number_that_scikit_learn_computes(case: str, weighted: bool) -> None:
    make, y, Y = CASES[case]
    weights = WEIGHTS if weighted else None
    model = fitted(make(), X, y, weights)
    given = objective_of(model, X, y, sample_weight=weights)
    assert given.their_number == pytest.approx(model.loss_, rel=1e-9)
    value, slopes = own(model, X, Y, weights)
    assert given.their_number == pytest.approx(value, rel=1e-9)
    for ours, theirs in zip(gradients(given), slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert given.program.shape[2] == Y.shape[1]
    assert given.notes == ()


def test_of_several_targets_the_gradients_decide() -> None:
    """scikit-learn's number averages over targets, but its gradients do not; the objective is that of the gradients."""
    model = fitted(regressor(), X, SCORES[:, :2])
    given = objective_of(model, X, SCORES[:, :2])
    for ours, theirs in zip(gradients(given), own(model, X, SCORES[:, :2])[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert "average" in given.notes[0]
    # The number can be had as well, with gamma as the note says.
    averaged = objective_of(model, X, SCORES[:, :2], gamma=2 * model.alpha)
    assert averaged.their_number / 2 == pytest.approx(model.loss_, rel=1e-9)


@pytest.mark.parametrize("batch", [20, 15, N])
def test_mini_batches_have_the_decay_of_their_own_size(batch: int) -> None:
    """The steps of an epoch follow, on average over equal batches, the gradient of the objective that is read."""
    model = fitted(classifier(solver="adam", batch_size=batch, max_iter=3), X, THREE)
    given = objective_of(model, X, THREE)
    Y = CASES["three classes"][2]
    parts = [own(model, X[at : at + batch], Y[at : at + batch]) for at in range(0, N, batch)]
    assert given.their_number == pytest.approx(np.mean([value for value, _ in parts]), rel=1e-9)
    for position, ours in enumerate(gradients(given)):
        np.testing.assert_allclose(ours, np.mean([slopes[position] for _, slopes in parts], axis=0), atol=1e-12)
    assert given.program.gamma == pytest.approx(model.alpha * N / batch, rel=1e-12)


def test_a_remainder_counts_as_a_batch() -> None:
    model = fitted(
        classifier(solver="sgd", batch_size=40, max_iter=2, early_stopping=True, validation_fraction=0.25), X, THREE
    )
    given = objective_of(model, X, THREE)
    # 45 rows are left: a batch of 40 and one of 5.
    assert given.program.gamma == pytest.approx(model.alpha * N * 0.5 * (1 / 40 + 1 / 5), rel=1e-12)
    assert any("early stopping" in note for note in given.notes)


@pytest.mark.parametrize("steps", [[StandardScaler()], [MinMaxScaler(), "passthrough"], [None, RobustScaler()], []])
def test_a_pipeline_is_its_last_step_on_what_reaches_it(steps: list[Any]) -> None:
    model = fitted(make_pipeline(*steps, classifier()), X, THREE)
    given = objective_of(model, X, THREE)
    assert given.their_number == pytest.approx(model[-1].loss_, rel=1e-9)
    np.testing.assert_array_equal(given.program.X[:, :-1], model[:-1].transform(X) if steps else X)


def test_a_search_and_transformed_targets() -> None:
    search = fitted(
        GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"mlpclassifier__alpha": [0.5]}, cv=2), X, THREE
    )
    assert objective_of(search, X, THREE).their_number == pytest.approx(search.best_estimator_[-1].loss_, rel=1e-9)
    around = fitted(TransformedTargetRegressor(regressor(), transformer=StandardScaler()), X, SCORES[:, 0])
    given = objective_of(around, X, SCORES[:, 0])
    assert given.their_number == pytest.approx(around.regressor_.loss_, rel=1e-9)
    np.testing.assert_allclose(np.std(given.program.Y), 1.0)


def test_single_precision_is_taken_as_it_is() -> None:
    model = fitted(classifier(solver="adam"), X.astype(np.float32), THREE)
    assert model.coefs_[0].dtype == np.float32
    U, V, a = objective_of(model, X.astype(np.float32), THREE).weights()
    np.testing.assert_array_equal(U, np.vstack([model.coefs_[0], model.intercepts_[0]]).astype(np.float64))
    np.testing.assert_array_equal(V, model.coefs_[1].T.astype(np.float64))
    np.testing.assert_array_equal(a, model.intercepts_[1].astype(np.float64))


class Frame:
    """As much of a data frame as is looked at."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def __array__(self, *_: Any, **__: Any) -> FloatArray:
        return X


def test_columns_in_another_order_are_refused() -> None:
    model = fitted(classifier(), X, THREE)
    model.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    assert objective_of(model, Frame(["a", "b", "c"]), THREE).their_number == pytest.approx(model.loss_, rel=1e-9)
    with pytest.raises(InputError, match="order"):
        objective_of(model, Frame(["b", "a", "c"]), THREE)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "not fitted": (lambda: objective_of(classifier(), X, THREE), "fit"),
    "another estimator": (lambda: objective_of(StandardScaler().fit(X), X, THREE), "MLPClassifier"),
    "two hidden layers": (
        lambda: objective_of(fitted(classifier(hidden_layer_sizes=(3, 3)), X, THREE), X, THREE),
        "2 hidden layers",
    ),
    "tanh": (lambda: objective_of(fitted(classifier(activation="tanh"), X, THREE), X, THREE), "relu"),
    "no decay": (lambda: objective_of(fitted(classifier(alpha=0.0), X, THREE), X, THREE), "minimiser"),
    "a loss of one's own": (
        lambda: objective_of(fitted(classifier(), X, THREE), X, THREE, loss="hinge"),
        "leave loss out",
    ),
    "a label it has not seen": (
        lambda: objective_of(fitted(classifier(), X, THREE), X, np.where(THREE == "fig", "plum", THREE)),
        "'plum'",
    ),
    "other features": (
        lambda: objective_of(fitted(classifier(), X, THREE), X[:, :2], THREE),
        "3 features, but X has 2",
    ),
    "other features before a scaler": (
        lambda: objective_of(fitted(make_pipeline(StandardScaler(), classifier()), X, THREE), X[:, :2], THREE),
        "standardscaler",
    ),
    "fewer labels": (lambda: objective_of(fitted(classifier(), X, THREE), X, THREE[:-1]), "59"),
    "other targets": (lambda: objective_of(fitted(regressor(), X, SCORES[:, :2]), X, SCORES), "2 outputs"),
    "text for numbers": (lambda: objective_of(fitted(regressor(), X, SCORES[:, 0]), X, THREE), "real numbers"),
    "negative counts": (
        lambda: objective_of(fitted(regressor(loss="poisson"), X, np.abs(SCORES[:, 0])), X, -np.abs(SCORES[:, 0])),
        "not negative",
    ),
    "negative weights": (
        lambda: objective_of(fitted(classifier(), X, THREE), X, THREE, sample_weight=-np.ones(N)),
        "negative",
    ),
    "NaN": (lambda: objective_of(fitted(classifier(), X, THREE), X * np.nan, THREE), "nan"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong: str) -> None:
    call, words = WRONG[wrong]
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert words in message, message
    assert "\n" not in message
    assert message.endswith(".")
