"""Targets as each loss takes them, what "auto" stands for, and weights of rows and classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from certnet.io import Recipe, load
from certnet.io.load_data import with_loss
from formulations import InputError

ROWS = [(0.5, "a", 1), (1.5, "b", 2), (2.5, "a", 0), (3.5, "b", 3), (4.5, "b", 1), (5.5, "a", 0.5)]


def table(tmp_path: Path, rows: list[tuple[float, object, float]] = ROWS) -> str:
    path = tmp_path / "t.csv"
    path.write_text("x,kind,w\n" + "".join(f"{x},{kind},{w}\n" for x, kind, w in rows))
    return str(path)


@pytest.mark.parametrize(
    ("source", "task", "loss"),
    [
        ("iris", None, "cross-entropy"),
        ("breast_cancer", None, "logistic"),
        ("breast_cancer", "regression", "squared"),
        ("iris", "regression", "squared"),
    ],
)
def test_auto_stands_for_a_loss_by_the_targets(source: str, task: str | None, loss: str) -> None:
    split = load(Recipe(source=source, task=task, loss="auto"))
    assert split.recipe.loss == loss
    assert Recipe.from_json(json.loads(json.dumps(split.recipe.to_json()))) == split.recipe


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared-hinge"])
def test_two_classes_are_signs_where_the_loss_takes_signs(loss: str) -> None:
    one_hot, signs = (load(Recipe(source="breast_cancer", loss=name)) for name in ("squared", loss))
    for (_, X, Y), (_, same, Z) in zip(one_hot.parts(), signs.parts(), strict=True):
        np.testing.assert_array_equal(X, same)
        np.testing.assert_array_equal(Z[:, 0], np.where(Y.argmax(axis=1) == 1, 1.0, -1.0))
    assert signs.classes == one_hot.classes == ("malignant", "benign")
    again = with_loss(one_hot, loss)
    np.testing.assert_array_equal(again.Y_test, signs.Y_test)
    assert again.recipe == signs.recipe
    np.testing.assert_array_equal(with_loss(one_hot, "cross-entropy").Y, one_hot.Y)


@pytest.mark.parametrize("loss", ["poisson", "huber:2.0", "absolute", "quantile:0.9"])
def test_a_loss_of_numbers_reads_few_whole_numbers_as_quantities(tmp_path: Path, loss: str) -> None:
    path = table(tmp_path, [(x, k % 3, 1) for k, (x, _, _) in enumerate(ROWS)])
    recipe = {"source": path, "target": "kind", "weight_column": "w", "split": False}
    np.testing.assert_array_equal(load(Recipe(**recipe, loss=loss)).Y[:, 0], [0, 1, 2, 0, 1, 2])
    assert load(Recipe(**recipe, loss="squared")).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"source": "iris", "loss": "logistic"}, "two classes, but iris has 3"),
        ({"source": "iris", "loss": "hinge"}, "cross-entropy or squared"),
        ({"source": "iris", "task": "regression", "loss": "cross-entropy"}, "about classes"),
        ({"source": "iris", "task": "regression", "loss": "logistic"}, "about classes"),
        ({"source": "iris", "task": "classification", "loss": "poisson"}, "about counts"),
        ({"source": "iris", "weight_column": "w"}, "--weight-column"),
        ({"source": "iris", "task": "regression", "class_weight": "balanced"}, "--class-weight"),
    ],
)
def test_a_loss_that_does_not_go_with_the_targets(recipe: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(Recipe(**recipe))


@pytest.mark.parametrize(
    ("loss", "words"), [("kl", "no loss 'kl'"), ("huber:-1", "positive"), ("quantile:1", "0 and 1")]
)
def test_a_recipe_with_a_loss_that_does_not_exist(loss: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Recipe(source="iris", loss=loss)


def test_a_column_of_weights_is_no_feature_and_rows_of_weight_zero_are_not_there(tmp_path: Path) -> None:
    recipe = Recipe(source=table(tmp_path), target="kind", weight_column=" w ", split=False)
    split = load(recipe)
    assert split.feature_names == ("x",)
    np.testing.assert_array_equal(split.sample_weight, [1, 2, 3, 1, 0.5])
    without = load(Recipe(source=table(tmp_path, [row for row in ROWS if row[2]]), weight_column="w", split=False))
    # The last column that is no weight is the target.
    np.testing.assert_array_equal(split.X, without.X)
    np.testing.assert_array_equal(split.Y, without.Y)
    assert load(Recipe(source="iris")).sample_weight is None


def test_weights_follow_their_rows_into_the_parts(tmp_path: Path) -> None:
    rows = [(float(k), "ab"[k % 2], float(k)) for k in range(1, 31)]
    split = load(Recipe(source=table(tmp_path, rows), weight_column="w", raw=True, loss="auto"))
    np.testing.assert_array_equal(split.sample_weight, split.X[:, 0])
    np.testing.assert_array_equal(split.weight_val, split.X_val[:, 0])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    split = load(Recipe(source="breast_cancer", class_weight="balanced", loss="auto"))
    labels = split.Y[:, 0]
    each = dict(zip((-1.0, 1.0), compute_class_weight("balanced", classes=np.array([-1, 1]), y=labels), strict=True))
    np.testing.assert_allclose(split.sample_weight, [each[label] for label in labels], rtol=1e-15)
    # Validation rows are weighed like training rows, by the shares among these.
    np.testing.assert_allclose(split.weight_val, [each[label] for label in split.Y_val[:, 0]], rtol=1e-15)


def test_balanced_weights_multiply_those_of_the_rows(tmp_path: Path) -> None:
    split = load(Recipe(source=table(tmp_path), weight_column="w", class_weight="balanced", split=False))
    totals = split.sample_weight @ split.Y
    assert totals[0] == pytest.approx(totals[1])
    assert totals.sum() == pytest.approx(7.5)
    ratio = split.sample_weight / np.array([1, 2, 3, 1, 0.5])
    assert ratio[0] == ratio[4]
    assert ratio[1] == ratio[2] == ratio[3]


@pytest.mark.parametrize(
    ("weights", "recipe", "words"),
    [
        ([1, 1, -1, 1, 1, 1], {}, "line 4 has a negative weight"),
        ([0] * 6, {}, "weight 0"),
        ([1, 1, "nan", 1, 1, 1], {}, "line 4"),
        ([1] * 6, {"weight_column": "v"}, "no column 'v'"),
        ([1] * 6, {"target": "w"}, "targets and weights"),
    ],
)
def test_weights_that_cannot_be_used(
    tmp_path: Path, weights: list[object], recipe: dict[str, object], words: str
) -> None:
    rows = [(x, kind, w) for (x, kind, _), w in zip(ROWS, weights, strict=True)]
    with pytest.raises(InputError, match=words):
        load(Recipe(**{"source": table(tmp_path, rows), "weight_column": "w", "split": False, **recipe}))


def test_a_table_of_weights_and_targets_alone(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    for text, words in (("y,w\n1,1\n2,1\n", "has only the weights and"), ("w\n1\n2\n", "targets and weights")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            load(Recipe(source=str(path), weight_column="w"))
