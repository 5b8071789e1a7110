"""Parquet files and data frames are the tables that their CSV files would be; hostile tables end in one sentence."""

import datetime
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from certnet.io import Recipe, load, read_source
from certnet.io.tables import Table, read_table
from formulations import InputError

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def frame() -> "pandas.DataFrame":
    rows = range(30)
    return pandas.DataFrame(
        {
            "size": [0.1 + row / 3 if row != 4 else None for row in rows],
            "count": pandas.array([row * 7 % 11 if row != 5 else None for row in rows], dtype="Int64"),
            "colour": pandas.Categorical([None if row == 6 else ("red", "blue")[row % 2] for row in rows]),
            "member": pandas.array([row % 3 == 0 if row != 7 else None for row in rows], dtype="boolean"),
            "seen": pandas.to_datetime([None if row == 8 else f"2021-03-{row % 28 + 1:02d}" for row in rows]),
            "price": [Decimal(row % 7) / 4 for row in rows],
            "short": np.arange(30, dtype=np.float32) / 3,
            "kind": [("yes", "no", "maybe")[row * row % 3] for row in rows],
        },
        index=np.arange(100, 130),
    )


def test_frames_parquet_and_csv_are_the_same_table(tmp_path: Path) -> None:
    given = frame()
    given.to_csv(tmp_path / "t.csv", index=False)
    given.to_parquet(tmp_path / "t.parquet")
    given.reset_index().to_csv(tmp_path / "i.csv")
    sources = [load(Recipe(source=str(tmp_path / name), split=False)) for name in ("t.csv", "t.parquet")]
    csv, parquet = sources
    assert csv.columns is not None
    assert parquet.columns is not None
    # Their text rounds the last column, of float32.
    assert csv.columns.columns[:-1] == parquet.columns.columns[:-1]
    assert [column.kind for column in csv.columns.columns] == [
        *("number", "number", "category", "boolean", "date", "number", "number"),
    ]
    for name in ("size", "colour=blue", "member", "seen", "price", "seen is missing"):
        place = csv.feature_names.index(name)
        np.testing.assert_array_equal(csv.X[:, place], parquet.X[:, place])
    raw = [read_source(Recipe(source=str(tmp_path / name))) for name in ("t.parquet", "i.csv")]
    np.testing.assert_array_equal(
        raw[0].X[:, 0], np.where(np.isnan(given["size"]), np.nanmedian(given["size"]), given["size"])
    )
    assert "index" in dict(raw[1].columns.left_out)  # type: ignore[union-attr]
    clock = Table.of_frame(pandas.DataFrame({"opened": [datetime.time(8, 30), datetime.time(17)]}))
    assert clock.column("opened") == ["08:30:00", "17:00:00"]
    table = Table.of_frame(given)
    np.testing.assert_array_equal(raw[0].columns.encode(table)[0], raw[0].X)  # type: ignore[union-attr]
    # A float32 is itself, not the shortest text that would round to it.
    np.testing.assert_array_equal(raw[0].X[:, raw[0].feature_names.index("short")], np.arange(30, dtype=np.float32) / 3)


def test_frames_that_are_no_tables() -> None:
    for odd, words in (
        (pandas.DataFrame({"a": [[1], [2]], "b": [b"x", b"y"]}), ("2 reasons", "'a'", "'b'")),
        (pandas.DataFrame([[1, 2]], columns=["a", "a"]), ("two columns named 'a'",)),
        (pandas.DataFrame({"a": [10**5000, 1], "b": [Decimal("sNaN"), 1]}, dtype=object), ("'a'", "'b'")),
        (pandas.DataFrame({"a": [np.timedelta64(3, "ns"), None]}, dtype=object), ("'a'",)),
        (pandas.DataFrame({"a": []}), ("no data",)),
        (pandas.DataFrame({" ": [1]}), ("no name for column 1",)),
    ):
        with pytest.raises(InputError) as caught:
            Table.of_frame(odd)
        for word in words:
            assert word in str(caught.value)
    assert Table.of_frame(pandas.DataFrame({3: [datetime.date(2020, 1, 2), None]})).column("3") == ["2020-01-02", ""]
    # As objects they stay NumPy's, whose ``item`` is a number of nanoseconds.
    moments = pandas.Series([*np.array(["2020-01-02T03", "NaT"], dtype="datetime64[ns]")], dtype=object)
    assert Table.of_frame(pandas.DataFrame({"a": moments})).column("a") == ["2020-01-02T03:00:00", ""]


def _csv(rows: int, columns: int, cell: Callable[[int, int], str], last: Callable[[int], str]) -> bytes:
    names = ",".join([*(f"c{place}" for place in range(columns)), "y"])
    lines = (",".join([*(cell(row, place) for place in range(columns)), last(row)]) for row in range(rows))
    return "\n".join([names, *lines]).encode()


def _parquet(changed: bool) -> bytes:
    stream = io.BytesIO()
    frame().to_parquet(stream)
    content = bytearray(stream.getvalue())
    if changed:
        content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
        content[-200:-100] = b"\x00" * 100
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "nul.csv": (lambda: b"a,y\n1,x\n\x002,y\n", ("NUL", "line 3")),
    "cell.csv": (lambda: b"a,y\n1,x\n" + b"z" * 1_000_000 + b",y\n", ("line 3", "field")),
    "names.csv": (lambda: b"a,a,,b,b,y\n1,2,3,4,5,x\n", ("3 reasons", "'a'", "column 3", "'b'")),
    "ragged.csv": (
        lambda: b"a,y\n" + b"1,2,3\n" * 50 + b"1,2\n" + b"1\n" * 50,
        ("line 2", "3 cells", "and 95 more"),
    ),
    "wide.csv": (
        lambda: _csv(120, 1500, lambda row, place: f"w{(row + place) % 7}", lambda row: "xy"[row % 2]),
        ("1500 columns of categories", "10500 features", "--drop"),
    ),
    "bad.csv": (
        lambda: _csv(
            60, 40, lambda row, place: "oops" if row == 3 else f"{row * place % 7}", lambda row: "xy"[row % 2]
        ),
        ("40 reasons", "'c0'", "There are 28 more"),
    ),
    "sheet.xlsx": (lambda: b"PK\x03\x04", ("spreadsheet", "CSV")),
    "text.parquet": (lambda: b"a,y\n1,x\n", ("no readable Parquet",)),
    "empty.parquet": (bytes, ("no readable Parquet",)),
    "cut.parquet": (lambda: _parquet(False)[:900], ("no readable Parquet",)),
    "changed.parquet": (lambda: _parquet(True), ("no readable Parquet",)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tables_end_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, words = HOSTILE[name]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(InputError) as caught:
        load(Recipe(source=str(tmp_path / name)))
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 3000


def test_a_column_of_a_hundred_thousand_words_is_an_id_or_keeps_the_frequent_ones(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        _csv(
            20_000,
            2,
            lambda row, place: f"word{row}" if place == 0 else f"town{row % 4000 if row % 3 else row % 91}",
            lambda row: f"{row % 13}.5",
        )
    )
    split = load(Recipe(source=str(path)))
    assert split.columns is not None
    assert dict(split.columns.left_out)["c0"].startswith("all its values differ")
    assert split.X.shape[1] == 51  # fifty towns and the others


def test_parquet_says_its_size_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.io.tables.LARGEST_TABLE", 100)
    frame().to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="30 rows of 9 cells"):
        read_table(tmp_path / "t.parquet")
