"""NPZ archives: what is taken, what is refused, and that nothing is ever unpickled."""

from pathlib import Path

import numpy as np
import pytest

from certnet.io import Recipe, load, read_source
from formulations import InputError

X = np.arange(12.0).reshape(6, 2)
LABELS = np.array([3, 1, 3, 1, 3, 1])


def source(tmp_path: Path, **arrays: object) -> str:
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(float), LABELS == 3, LABELS.astype(str), LABELS.astype("S")])
def test_label_vectors_become_one_hot(tmp_path: Path, labels: np.ndarray) -> None:
    data = read_source(Recipe(source=source(tmp_path, X=X, Y=labels)))
    np.testing.assert_array_equal(data.Y, np.column_stack([LABELS == 1, LABELS == 3]))
    assert data.task == "classification"


def test_a_one_hot_matrix_stays_and_counts_as_classes(tmp_path: Path) -> None:
    Y = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    data = read_source(Recipe(source=source(tmp_path, X_train=X, Y_train=Y)))
    np.testing.assert_array_equal(data.Y, Y)
    assert data.classes == ("0", "1", "2")


def test_a_matrix_of_numbers_stays_and_counts_as_regression(tmp_path: Path) -> None:
    Y = np.linspace(-1, 1, 18).reshape(6, 3)
    data = read_source(Recipe(source=source(tmp_path, X_train=X, Y_train=Y)))
    np.testing.assert_array_equal(data.Y, Y)
    assert (data.task, data.classes) == ("regression", None)


def test_arrays_that_are_given_are_not_split_again(tmp_path: Path) -> None:
    split = load(Recipe(source=source(tmp_path, X_train=X, Y_train=LABELS, X_test=X[:2] + 1, Y_test=[1, 3]), raw=True))
    np.testing.assert_array_equal(split.X, X)
    assert split.X_val is None
    assert split.Y_val is None
    np.testing.assert_array_equal(split.X_test, X[:2] + 1)
    np.testing.assert_array_equal(split.Y_test, [[1, 0], [0, 1]])


def test_without_test_arrays_the_rows_are_split(tmp_path: Path) -> None:
    split = load(Recipe(source=source(tmp_path, X_train=np.arange(40.0).reshape(20, 2), Y_train=np.arange(20) % 2)))
    assert (len(split.X), len(split.Y_val), len(split.Y_test)) == (12, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "options", "parts"),
    [
        ({"X": X}, {}, ["no array Y", "it has X"]),
        ({"A": X}, {}, ["no array X_train", "it has A", "X_train and Y_train, or X and Y"]),
        ({"X": X, "Y": LABELS[:5]}, {}, ["6 rows", "Y has 5", "same number of rows"]),
        ({"X": X, "Y": np.ones(6)}, {}, ["only one class", "'1'"]),
        ({"X": X, "Y": np.eye(2)[[0] * 6]}, {}, ["only one class"]),
        ({"X": np.where(X == 4, np.nan, X), "Y": LABELS}, {}, ["nan", "row 3, column 1"]),
        ({"X": X, "Y": np.where(LABELS == 1, np.inf, 1.0)}, {}, ["inf"]),
        ({"X": np.zeros((0, 2)), "Y": np.zeros(0)}, {}, ["empty"]),
        ({"X": X[None], "Y": LABELS}, {}, ["3 dimensions", "reshape"]),
        ({"X": X.astype(complex), "Y": LABELS}, {}, ["complex"]),
        ({"X": X, "Y": np.array([{}] * 6)}, {}, ["pickled"]),
        ({"X": X, "Y": LABELS, "X_test": X, "Y_test": LABELS[:3]}, {}, ["X_test has 6", "Y_test has 3"]),
        ({"X": X, "Y": LABELS, "X_test": X}, {}, ["no array Y_test", "it has X, Y, X_test"]),
        (
            {"X": X, "Y": LABELS, "X_test": X[:, :1], "Y_test": LABELS},
            {},
            ["X_test", "1 columns where the training features have 2"],
        ),
        ({"X": X, "Y": LABELS, "X_test": X[:1], "Y_test": [7]}, {}, ["class '7'", "row 1"]),
        ({"X": X, "Y": X}, {"task": "classification"}, ["one-hot", "--task regression"]),
        ({"X": X, "Y": LABELS.astype(str)}, {"task": "regression"}, ["real numbers"]),
        ({"X": X, "Y": LABELS}, {"target": "a"}, ["--target"]),
        ({"X": X * 1e120, "Y": LABELS}, {}, ["d.npz: X", "row 1, column 2", "1e+100"]),
        ({"X": X, "Y": LABELS, "X_test": X * 1e120, "Y_test": LABELS}, {"raw": True}, ["X_test", "1e+100"]),
        ({"X": X, "Y": X * 1e120}, {}, ["d.npz: Y", "1e+100"]),
        ({"X": X, "Y": X + 0.5, "X_test": X, "Y_test": X[:, :1]}, {}, ["Y_test", "1 columns where", "same ones"]),
    ],
)
def test_bad_archives_are_named_in_one_sentence(
    tmp_path: Path, arrays: dict[str, object], options: dict[str, object], parts: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load(Recipe(source=source(tmp_path, **arrays), **options))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    whole = Path(source(tmp_path, X=np.random.default_rng(0).normal(size=(50, 2)), Y=np.arange(50) % 2)).read_bytes()
    bad = tmp_path / "bad.npz"
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    for content in (b"", b"PK", b"hello", whole[:100], whole[: len(whole) // 2], whole[:-5], bytes(damaged)):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz"):
            load(Recipe(source=str(bad)))
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(InputError, match=r"one\.npy.*save it as \.npz with X_train and Y_train"):
        load(Recipe(source=str(tmp_path / "one.npy")))
    (tmp_path / "one.npy").rename(bad)
    with pytest.raises(InputError, match="single array"):
        load(Recipe(source=str(bad)))


def test_the_ending_does_not_matter_for_an_archive(tmp_path: Path) -> None:
    path = Path(source(tmp_path, X=X, Y=LABELS)).rename(tmp_path / "data")
    np.testing.assert_array_equal(read_source(Recipe(source=str(path))).X, X)


def test_what_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.io.arrays.LARGEST_ARRAYS", 2**16)
    path = tmp_path / "d.npz"
    np.savez_compressed(path, X=X, Y=LABELS, pictures=np.zeros(2**20))
    assert load(Recipe(source=str(path), split=False)).X.shape == X.shape
    np.savez_compressed(path, X=np.zeros((2**12, 2)), Y=np.arange(2**12))
    assert path.stat().st_size < 2**14
    with monkeypatch.context() as unread:
        unread.setattr("zipfile.ZipFile.read", None)
        with pytest.raises(InputError, match=r"^d\.npz unpacks to more than 65536 bytes.*save less in it\.$"):
            load(Recipe(source=str(path)))
