"""Splits are stratified, disjoint and seeded; standardisation looks at training rows only."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certnet.io import BUILT_IN, Recipe, load, read_source
from certnet.io.dataset import DataSet
from certnet.io.load_data import split_rows, standardisation
from formulations import InputError


def labelled(labels: list[int], classes: int) -> DataSet:
    n = len(labels)
    return DataSet(
        name="d",
        task="classification",
        X=np.arange(n, dtype=float)[:, None],
        Y=np.eye(classes)[labels],
        classes=tuple(str(index) for index in range(classes)),
    )


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(0, 2**32))
def test_split_is_a_partition_that_keeps_the_shares(labels: list[int], seed: int) -> None:
    parts = split_rows(labelled(labels, 5), seed)
    rows = np.concatenate([parts.train, parts.val, parts.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(labels)))
    values = np.array(labels)
    for label in set(labels):
        total = int(np.sum(values == label))
        assert label in values[parts.train]
        if total > 1:
            assert abs(int(np.sum(values[parts.train] == label)) - 0.6 * total) <= 1.0
            assert abs(int(np.sum(values[parts.val] == label)) - 0.2 * total) < 1.0
            assert abs(int(np.sum(values[parts.test] == label)) - 0.2 * total) < 1.0


def test_split_depends_on_the_seed_and_on_nothing_else() -> None:
    data = labelled([0, 1] * 30, 2)
    first, again, other = (split_rows(data, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    # Certificates depend on this very order; a change here would orphan them.
    np.testing.assert_array_equal(split_rows(labelled([0, 1] * 5, 2), 0).test, [0, 5])


def test_small_classes_are_kept_for_training_and_reported() -> None:
    parts = split_rows(labelled([0] * 20 + [1] + [2, 2], 3), 0)
    assert 20 in parts.train
    assert [note.split(",")[0] for note in parts.notes] == [
        "Class '1' has only one row",
        "Class '2' has only 2 rows",
    ]


def test_many_small_classes_become_one_note() -> None:
    (note,) = split_rows(labelled([0] * 20 + [1, 2, 3, 4], 5), 0).notes
    assert note.startswith("4 classes have rows too few")
    assert "'1', '2', '3' and others" in note


@pytest.mark.parametrize(("n", "start"), [(1, "One row is"), (3, "3 rows are")])
def test_too_few_rows_are_reported(n: int, start: str) -> None:
    parts = split_rows(replace(labelled([0] * n, 1), task="regression", classes=None), 0)
    assert len(parts.test) == 0
    (note,) = parts.notes
    assert note.startswith(f"{start} too few for training, validation and test alike; add --no-split")


def test_regression_is_split_60_20_20() -> None:
    data = replace(labelled([0] * 100, 1), task="regression", classes=None)
    parts = split_rows(data, 3)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (60, 20, 20)
    assert parts.notes == ()


def test_standardisation_uses_training_rows_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(3.0, 10.0, size=(40, 3))
    X[:, 1] = 7.5
    labels = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", X_train=X, Y_train=labels, X_test=X[:5], Y_test=labels[:5])
    np.savez(tmp_path / "b.npz", X_train=X, Y_train=labels, X_test=1000 * X[:5], Y_test=labels[:5])
    first, second = (load(Recipe(source=str(tmp_path / name))) for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.offset, second.offset)
    np.testing.assert_allclose(first.X.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(first.X.std(axis=0), [1.0, 0.0, 1.0], rtol=1e-12)
    assert first.scale[1] == 1.0
    assert second.X_test is not None
    np.testing.assert_allclose(second.X_test * second.scale + second.offset, 1000 * X[:5], rtol=1e-12)


def test_standardised_split_has_the_statistics_of_its_training_part() -> None:
    split = load(Recipe(source="wine"))
    raw = load(Recipe(source="wine", raw=True))
    np.testing.assert_allclose(split.offset, raw.X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(split.scale, raw.X.std(axis=0), rtol=1e-12)
    assert abs(split.X_val.mean(axis=0)).max() > 1e-3  # type: ignore[union-attr]
    np.testing.assert_array_equal(raw.offset, 0.0)
    np.testing.assert_array_equal(raw.scale, 1.0)


@given(st.integers(0, 2**32 - 1))
def test_standardisation_does_not_depend_on_the_order_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(17, 2)) * 10.0 ** rng.integers(-12, 12)
    for one, two in zip(standardisation(X), standardisation(X[rng.permutation(17)]), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_split_without_overlap(name: str) -> None:
    split = load(Recipe(source=name, raw=True))
    whole = read_source(Recipe(source=name))
    assert split.X_val is not None
    assert split.X_test is not None
    assert split.classes is not None
    assert split.Y.shape[1] == len(split.classes)
    assert (split.Y.sum(axis=0) > 0).all()
    total = len(split.X) + len(split.X_val) + len(split.X_test)
    if name == "spiral":
        assert total == 180
        return
    assert total == len(whole.X)
    parts = np.concatenate([split.X, split.X_val, split.X_test])
    np.testing.assert_array_equal(np.sort(parts, axis=0), np.sort(whole.X, axis=0))


def test_no_split_trains_on_everything() -> None:
    split = load(Recipe(source="iris", split=False, raw=True))
    np.testing.assert_array_equal(split.X, read_source(Recipe(source="iris")).X)
    assert [X for _, X, _ in split.parts()][1:] == [None, None]


def test_built_in_regression_target_is_the_class_number() -> None:
    classes, numbers = (
        load(Recipe(source="iris", task=task, split=False)) for task in ("classification", "regression")
    )
    np.testing.assert_array_equal(numbers.Y[:, 0], classes.Y.argmax(axis=1))


def test_spiral_is_the_one_of_the_paper(paper_data: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
    X, Y = paper_data("spiral")
    split = load(Recipe(source="spiral", raw=True))
    np.testing.assert_allclose(split.X, X, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(split.Y, Y)


def test_a_recipe_survives_json_and_rebuilds_the_same_data() -> None:
    recipe = Recipe(source="breast_cancer", seed=7)
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    first, second = load(recipe), load(again)
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.Y, second.Y)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"source": "iris"},
        {**Recipe(source="iris").to_json(), "seed": "0"},
        {**Recipe(source="iris").to_json(), "seed": -1},
        {**Recipe(source="iris").to_json(), "seed": True},
        {**Recipe(source="iris").to_json(), "task": "sorting"},
        {**Recipe(source="iris").to_json(), "loss": "kl"},
        {**Recipe(source="iris").to_json(), "class_weight": "heavy"},
        {**Recipe(source="iris").to_json(), "extra": 1},
    ],
)
def test_a_damaged_recipe_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="damaged"):
        Recipe.from_json(value)
