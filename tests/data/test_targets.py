"""What targets are taken for when nobody says."""

from pathlib import Path

import numpy as np
import pytest

from certnet.io import Recipe, load
from certnet.io.dataset import guess_task, label_keys

AGES = np.random.default_rng(0).integers(18, 80, 400).tolist()


@pytest.mark.parametrize(
    ("labels", "task", "is_noted"),
    [
        (["yes", "no", "yes", "no"], "classification", False),
        (["a", "1", "2"], "classification", False),
        ([0, 1] * 3, "classification", False),
        ([1, 2, 3] * 2, "classification", False),
        ([-1, 1] * 2, "classification", False),
        (list(range(10)) * 5, "classification", False),
        (["2", "4.0", "4"] * 3, "classification", True),
        ([2010, 2011, 2012] * 9, "classification", True),
        (AGES, "regression", True),
        ([18, 25, 31, 44], "regression", True),
        (list(range(20)), "regression", True),
        (list(range(21)) * 100, "regression", True),
        ([0.5, 1.5, 2.5, 3.5], "regression", True),
        ([0.5, 1.5] * 50, "regression", True),
        (["1e-3", "2", "3"] * 4, "regression", True),
    ],
)
def test_the_guess(labels: list[str | float], task: str, is_noted: bool) -> None:
    found, note = guess_task(label_keys(labels), source="it")
    assert found == task
    assert (note is not None) == is_noted
    if note is not None:
        other = "regression" if task == "classification" else "classification"
        assert f"--task {other}" in note
        assert note.endswith(".")


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_ages_become_a_quantity_with_a_word_and_classes_where_asked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"people.{kind}"
    if kind == "csv":
        path.write_text("x,age\n" + "".join(f"{row},{age}\n" for row, age in enumerate(AGES)))
    else:
        np.savez(path, X=np.arange(len(AGES), dtype=float)[:, None], Y=np.array(AGES))
    split = load(Recipe(source=str(path), split=False))
    assert split.task == "regression"
    assert split.Y[:, 0].tolist() == AGES
    assert any("age" in note or "Y" in note for note in split.notes)
    told = load(Recipe(source=str(path), split=False, task="regression", features=("x",) if kind == "csv" else None))
    assert told.notes == ()
    np.testing.assert_array_equal(told.Y, split.Y)
    few = load(Recipe(source=str(path), split=False, task="classification"))
    assert few.classes == tuple(map(str, sorted(set(AGES))))


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_long_numbers_are_different_classes(tmp_path: Path, kind: str) -> None:
    """2^53 and 2^53 + 1 are one float64 number."""
    labels = [2**53, 2**53 + 1, 7] * 8
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("x,y\n" + "".join(f"{row}.5,{label}\n" for row, label in enumerate(labels)))
    else:
        np.savez(path, X=np.arange(len(labels), dtype=float)[:, None], Y=np.array(labels))
    split = load(Recipe(source=str(path), split=False, raw=True))
    assert split.classes == ("7", "9007199254740992", "9007199254740993")
    assert [split.classes[k] for k in split.Y.argmax(axis=1)] == list(map(str, labels))
