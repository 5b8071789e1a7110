"""The estimators: labels, weights, proofs, and what scikit-learn's tools do with them."""

import io
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from certnet import CertifiedMLPClassifier, CertifiedMLPRegressor, Verdict, check, read_relu_network
from certnet.estimators.base import distinct_rows
from formulations import InputError

pytestmark = pytest.mark.usefixtures("quick_fits")


def blobs(classes: int = 3, n: int = 24, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Classes that a line nearly separates."""
    rng = np.random.default_rng(seed)
    place = np.arange(n) % classes
    centres = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    return centres[place] + 0.7 * rng.standard_normal((n, 2)), place


def classifier(**options: Any) -> CertifiedMLPClassifier:
    return CertifiedMLPClassifier(**{"alpha": 1.0, "certify": False, "random_state": 0, **options})


def regressor(**options: Any) -> CertifiedMLPRegressor:
    return CertifiedMLPRegressor(**{"alpha": 1.0, "certify": False, "random_state": 0, **options})


@pytest.mark.parametrize(
    "names",
    [["no", "yes"], [-3, 8], [False, True], [2.0, -1.0], ["c", "a", "b"], np.array(["x", "yy", "zzz"], dtype=object)],
)
def test_labels_of_any_type_come_back(names: Any) -> None:
    X, place = blobs(len(names))
    y = np.asarray(names)[place]
    model = classifier().fit(X, y)
    assert model.classes_.tolist() == sorted(names)
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.9
    assert model.loss_name_ == ("logistic" if len(names) == 2 else "cross-entropy")


@pytest.mark.parametrize(("classes", "loss"), [(2, "auto"), (2, "cross-entropy"), (3, "auto")])
def test_probabilities_are_those_of_the_outputs(classes: int, loss: str) -> None:
    X, y = blobs(classes)
    model = classifier(loss=loss).fit(X, y)
    f = model.network_(X)
    full = np.hstack([np.zeros_like(f), f]) if f.shape[1] == 1 else f
    np.testing.assert_allclose(model.predict_proba(X), softmax(full, axis=1))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(axis=1)])
    shape = (len(X),) if classes == 2 else (len(X), 3)
    assert model.decision_function(X).shape == shape


@pytest.mark.parametrize("loss", ["squared", "squared-hinge"])
def test_other_losses_of_two_classes_have_no_probabilities(loss: str) -> None:
    X, y = blobs(2)
    model = classifier(loss=loss).fit(X, y)
    assert model.score(X, y) > 0.9
    assert not hasattr(model, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        _ = model.predict_proba


@pytest.mark.slow
def test_alpha_may_be_chosen_by_validation() -> None:
    X, y = blobs(2, n=30)
    model = classifier(alpha="auto").fit(X, y)
    assert model.alpha_ > 0
    assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(model.predict(X), classifier(alpha=model.alpha_).fit(X, y).predict(X))
    model.set_params(gap=0.9, time_limit=10.0)
    assert model.prove(X, y).certificate_.statement.gamma == model.alpha_


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_a_fit_with_proof_holds_a_certificate_about_its_network(kind: Any) -> None:
    X, y = blobs()
    model = kind(certify=True, gap=0.5, time_limit=20.0).fit(X, y)
    assert 0 <= model.lower_bound_ <= model.objective_
    assert model.gap_ == pytest.approx(1 - model.lower_bound_ / model.objective_)
    assert check(model.certificate_).verdict is Verdict.PROVED
    U, V, a = model.network_.program_weights(hidden_bias=True)
    proof = model.certificate_.proofs[0]
    for own, proved in ((U, proof.U), (V, proof.V), (a, proof.output)):
        np.testing.assert_array_equal(own, proved)


def test_a_proof_may_come_later_and_changes_nothing_else() -> None:
    X, y = blobs(2)
    model = classifier(alpha=3.0, gap=1e-9, time_limit=20.0).fit(X, y)
    assert not hasattr(model, "certificate_")
    before, objective = model.predict_proba(X), model.objective_
    weight = np.ones(len(X))
    # The gap that is asked for here is the one that a warning would be about.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.prove(X[::-1], y[::-1], weight, gap=0.9) is model
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert model.objective_ == pytest.approx(objective, rel=1e-12)
    assert 0 < model.lower_bound_ <= model.objective_
    assert check(model.certificate_).verdict is Verdict.PROVED
    model.certify = False
    assert not hasattr(model.fit(X, y), "certificate_")


def test_a_proof_is_about_the_data_of_the_fit() -> None:
    X, y = blobs(2)
    model = classifier().fit(X, y)
    with pytest.raises(InputError, match="give the same rows"):
        model.prove(X + 1.0, y)
    with pytest.raises(InputError, match="label that was not there"):
        model.prove(X, y + 7)
    with pytest.raises(InputError, match="leave the parameters"):
        model.set_params(alpha=2.0).prove(X, y)
    with pytest.raises(NotFittedError):
        classifier().prove(X, y)
    numbers = regressor().fit(X, y)
    with pytest.raises(InputError, match="give the same rows"):
        numbers.prove(X, y + 1)


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_weights_count_how_often_a_row_occurs(kind: Any) -> None:
    X, y = blobs()
    weight = np.random.default_rng(1).integers(0, 3, len(X))
    often, shuffled = np.repeat(np.arange(len(X)), weight), np.random.default_rng(2).permutation(len(X))
    weighted = kind().fit(X, y, sample_weight=weight).network_
    for other in (kind().fit(X[often], y[often]), kind().fit(X[shuffled], y[shuffled], weight[shuffled])):
        for name in ("hidden", "hidden_bias", "output", "output_bias"):
            np.testing.assert_array_equal(getattr(other.network_, name), getattr(weighted, name))


def test_class_weights_are_weights_of_rows() -> None:
    X, y = blobs(2)
    X, y = X[6:], np.where(np.arange(18) < 4, 1, y[6:])
    balanced = classifier(class_weight="balanced").fit(X, y)
    weight = len(y) / (2.0 * np.bincount(y)[y])
    by_hand = classifier().fit(X, y, weight)
    plain = classifier().fit(X, y)
    np.testing.assert_array_equal(balanced.decision_function(X), by_hand.decision_function(X))
    assert np.abs(plain.decision_function(X) - by_hand.decision_function(X)).max() > 1e-3


def test_distinct_rows_keep_the_sum_of_the_weights() -> None:
    X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, -0.0], [0.0, 2.0], [5.0, 5.0]])
    Y = np.array([[1.0], [2.0], [1.0], [3.0], [0.0]])
    rows, targets, weight = distinct_rows(X, Y, np.array([1.0, 2.0, 4.0, 8.0, 0.0]))
    assert rows.tolist() == [[0.0, 2.0], [0.0, 2.0], [1.0, 0.0]]
    assert targets.ravel().tolist() == [2.0, 3.0, 1.0]
    assert weight.tolist() == [2.0, 8.0, 5.0]


def test_targets_keep_their_shape() -> None:
    X, _ = blobs()
    Y = np.column_stack([X[:, 0] + 1.0, np.abs(X[:, 1])])
    model = regressor(alpha=0.1).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.score(X, Y) > 0.8
    assert model.fit(X, Y[:, 0]).predict(X).shape == (len(X),)
    assert model.fit(X, Y[:, :1]).predict(X).shape == (len(X), 1)


def test_poisson_predicts_means() -> None:
    X, place = blobs()
    counts = np.array([1.0, 4.0, 9.0])[place]
    model = regressor(loss="poisson", alpha=0.1).fit(X, counts)
    np.testing.assert_allclose(model.predict(X), np.exp(model.network_(X)[:, 0]))
    assert np.abs(model.predict(X) - counts).mean() < 1.0


def test_a_warm_start_is_no_worse() -> None:
    X, y = blobs()
    model = classifier(warm_start=True).fit(X, y)
    first = model.objective_
    assert model.set_params(random_state=5).fit(X, y).objective_ <= first * (1 + 1e-6)
    network = model.network_
    model.set_params(certify=True, gap=0.9, time_limit=20.0).fit(X, y)
    assert model.objective_ <= first * (1 + 1e-6)
    with pytest.raises(InputError, match="set warm_start=False"):
        model.fit(X[:, :1], y)
    assert network.inputs == 2


@pytest.mark.slow
def test_networks_leave_for_other_tools(tmp_path: Path) -> None:
    X, y = blobs()
    model = classifier().fit(X, y)
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        found = model.to_torch()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, model.decision_function(X), rtol=1e-12, atol=1e-12)
    pytest.importorskip("onnx")
    model.to_onnx(tmp_path / "model.onnx")
    np.testing.assert_array_equal(read_relu_network(tmp_path / "model.onnx")(X), model.network_(X))


def test_estimators_are_cloned_and_stored() -> None:
    X, y = blobs(2)
    model = classifier(certify=True, gap=0.9, time_limit=20.0).fit(X, y)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(stream)):  # noqa: S301
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert check(other.certificate_).lower_bound == model.lower_bound_
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "network_")


def test_tools_of_scikit_learn_take_them() -> None:
    X, y = blobs(2, n=30)
    pipeline = make_pipeline(StandardScaler(), classifier())
    assert cross_val_score(pipeline, X, y, cv=2, scoring="neg_log_loss").mean() > -0.5
    grid = {"certifiedmlpclassifier__alpha": [0.3, 100.0]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    assert search.best_params_ == {"certifiedmlpclassifier__alpha": 0.3}
    calibrated = CalibratedClassifierCV(classifier(loss="squared-hinge"), cv=2, ensemble=False).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0)
    assert calibrated.score(X, y) > 0.9


def test_names_of_features_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = blobs(2)
    frame = pandas.DataFrame(X, columns=["left", "right"])
    model = classifier().fit(frame, pandas.Series(y))
    assert model.feature_names_in_.tolist() == ["left", "right"]
    np.testing.assert_array_equal(model.predict(frame), model.fit(X, y).predict(X))


def test_a_gap_that_stays_open_is_said() -> None:
    X, y = blobs()
    with pytest.warns(ConvergenceWarning, match="where 0.00% was asked for"):
        model = classifier(certify=True, gap=1e-9, alpha=0.01, time_limit=0.5).fit(X, y)
    assert model.gap_ > 1e-9
    assert math.isfinite(model.objective_)


def test_what_happens_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = blobs(2)
    classifier(certify=True, gap=0.9, time_limit=20.0, verbose=True).fit(X, y)
    assert "objective" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({}, {"y": np.zeros(24)}, "one class only"),
        ({"loss": "hinge"}, {}, "for two classes, not 3"),
        ({"loss": "poisson"}, {}, "for numbers"),
        ({"loss": "cosine"}, {}, "no loss 'cosine'"),
        ({"alpha": -1.0}, {}, "gamma"),
        ({"alpha": "large"}, {}, "alpha must be"),
        ({"hidden_bias": "some"}, {}, "hidden_bias"),
        ({}, {"sample_weight": -np.ones(24)}, "negative"),
        ({}, {"sample_weight": np.zeros(24)}, "at least one non-zero"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], data: dict[str, Any], message: str) -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        classifier(**options).fit(**{"X": X, "y": y, **data})


@pytest.mark.parametrize(
    ("loss", "message"),
    [("logistic", "for classes"), ("quantile:1.5", "must lie between 0 and 1"), ("poisson", "not negative")],
)
def test_losses_that_do_not_fit_numbers_are_named(loss: str, message: str) -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match=message):
        regressor(loss=loss).fit(X, y - 1.0)
