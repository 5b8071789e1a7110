"""Columns of a table become features by what training rows hold, and the same ones for whoever asks later."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import Recipe, load, read_source
from certnet.io.cells import parse_number, parse_time, plain_numbers, quantity
from certnet.io.columns import Column, Columns
from certnet.io.dataset import DataSet, Split
from certnet.io.tables import Table, read_table
from formulations import InputError

ROWS = 60
COLOURS = ("blue", "green", "red")


def cells(row: int) -> dict[str, str]:
    """A row of everything that people have in tables."""
    return {
        "customer_id": str(7919 * row % 104729),
        "age": "" if row % 7 == 3 else f"{20 + row % 31}.5",
        "colour": "NA" if row % 11 == 5 else COLOURS[row % 3],
        "smoker": "Yes" if row % 4 == 1 else "no",
        "seen": f"{row % 28 + 1:02d}/{row % 12 + 1:02d}/20{20 + row % 3}",
        "shop": "the only one",
        "opened": "" if row % 13 == 6 else f"{row % 12 + 1}:{row * 7 % 60:02d} {'ap'[row % 2]}m",
        "note": f"text {row}",
        "kind": "good" if row % 5 < 2 else "bad",
    }


def write(path: Path, rows: Sequence[dict[str, str]], names: Sequence[str] | None = None) -> str:
    names = names or [*rows[0]]
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def people(tmp_path: Path) -> str:
    return write(tmp_path / "people.csv", [cells(row) for row in range(ROWS)])


def feature(data: DataSet, name: str) -> np.ndarray:
    return data.X[:, data.feature_names.index(name)]


@pytest.mark.parametrize(
    "pair",
    ["ja nein", "WAHR FALSCH", "oui non", "VRAI FAUX", "Sí No", "VERDADERO FALSO", "sì no", "sim não", "waar onwaar"],
)
def test_yes_and_no_of_other_languages_are_one_feature(tmp_path: Path, pair: str) -> None:
    answers = [pair.split()[row % 3 == 0] for row in range(ROWS)]
    rows = [{"member": answer, "y": f"{row}.5"} for row, answer in enumerate(answers)]
    data = read_source(Recipe(source=write(tmp_path / "answers.csv", rows)))
    assert data.feature_names == ("member",)
    np.testing.assert_array_equal(data.X[:, 0], [answer == pair.split()[0] for answer in answers])


def test_categories_that_hold_commas_can_be_told_apart() -> None:
    column = Column("channel", "category", categories=("phone", "shop, street", "web"))
    assert column.sentence("median") == "channel: a feature of 0 and 1 for each of phone, 'shop, street' and web"


def test_everything_becomes_features_by_name(people: str) -> None:
    data = read_source(Recipe(source=people))
    rows = [cells(row) for row in range(ROWS)]
    known = [float(row["age"]) for row in rows if row["age"]]
    np.testing.assert_array_equal(feature(data, "age"), [float(row["age"] or np.median(known)) for row in rows])
    np.testing.assert_array_equal(feature(data, "age is missing"), [row["age"] == "" for row in rows])
    for colour in (*COLOURS, "(missing)"):
        own = colour if colour in COLOURS else "NA"
        np.testing.assert_array_equal(feature(data, f"colour={colour}"), [row["colour"] == own for row in rows])
    np.testing.assert_array_equal(feature(data, "smoker"), [row["smoker"] == "Yes" for row in rows])
    days = [np.datetime64("-".join(reversed(row["seen"].split("/")))).astype(int) for row in rows]
    np.testing.assert_array_equal(feature(data, "seen"), np.array(days) - min(days))
    clock = [datetime.strptime(row["opened"], "%I:%M %p") for row in rows if row["opened"]]
    hours = iter([time.hour + time.minute / 60 for time in clock])
    middle = np.median([time.hour + time.minute / 60 for time in clock])
    expected = [next(hours) if row["opened"] else middle for row in rows]
    np.testing.assert_allclose(feature(data, "opened"), expected, rtol=1e-14)
    assert data.X.shape == (ROWS, 10)
    assert data.columns is not None
    assert dict(data.columns.left_out).keys() == {"customer_id", "shop", "note"}
    assert data.columns.target == "kind"
    said = " ".join(data.columns.sentences())
    for name in ("age", "colour", "smoker", "seen", "opened", "customer_id", "shop", "note"):
        assert f"{name}: " in said


def test_validation_and_test_rows_teach_the_columns_nothing(people: str, tmp_path: Path) -> None:
    first = load(Recipe(source=people, raw=True))
    rows = [cells(row) for row in range(ROWS)]
    apart = {tuple(x) for X in (first.X_val, first.X_test) if X is not None for x in X.tolist()}
    changed = [
        {**row, "age": "1e6", "colour": "violet", "smoker": "no"} if tuple(x) in apart else row
        for row, x in zip(rows, read_source(Recipe(source=people, raw=True)).X.tolist(), strict=True)
    ]
    assert sum(row["colour"] == "violet" for row in changed) > 10
    again = load(Recipe(source=write(tmp_path / "other.csv", changed), raw=True))
    assert again.columns == first.columns
    np.testing.assert_array_equal(again.X, first.X)


def test_columns_are_found_by_name_in_any_order(people: str) -> None:
    columns = read_source(Recipe(source=people)).columns
    assert columns is not None
    table = read_table(people)
    shuffled = replace(table, names=table.names[::-1], columns=table.columns[::-1])
    np.testing.assert_array_equal(columns.encode(shuffled)[0], columns.encode(table)[0])
    wider = replace(table, names=(*table.names, "extra"), columns=(*table.columns, table.columns[0]))
    X, notes = columns.encode(wider)
    np.testing.assert_array_equal(X, columns.encode(table)[0])
    assert any("extra" in note for note in notes)
    lacking = replace(table, names=("customer_id", "kind"), columns=(table.columns[0], table.columns[-1]))
    with pytest.raises(InputError, match="lacks columns age, colour, smoker, seen and opened"):
        columns.encode(lacking)


def test_a_run_that_is_named_as_data_is_no_mistyped_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "orders").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="runs/orders is a run: give the file that it was trained on"):
        read_source(Recipe(source="orders"))


def test_what_no_training_row_has_counts_as_nothing_known_and_is_said(people: str) -> None:
    columns = read_source(Recipe(source=people)).columns
    assert columns is not None
    row = {**cells(0), "colour": "violet", "smoker": "", "age": "-"}
    table = Table("new.csv", tuple(row), tuple((cell,) for cell in row.values()), (2,))
    X, notes = columns.encode(table)
    names = columns.feature_names
    assert [X[0, names.index(f"colour={colour}")] for colour in COLOURS] == [0, 0, 0]
    assert X[0, names.index("age is missing")] == 1
    assert X[0, names.index("smoker")] == 0  # most training rows say no
    assert any("violet" in note for note in notes)
    assert any("'smoker'" in note for note in notes)


def test_a_cell_that_cannot_be_read_is_not_called_missing_too() -> None:
    with pytest.raises(InputError) as caught:
        Columns.numbers(["age"]).encode(Table("new.csv", ("age",), (("7", "old"),), (2, 3)))
    assert "which is not a number" in str(caught.value)
    assert "no value" not in str(caught.value)


def test_bad_cells_of_all_columns_are_named_at_once(people: str, tmp_path: Path) -> None:
    rows = [cells(row) for row in range(ROWS)]
    rows[4] |= {"age": "old", "seen": "tomorrow"}
    rows[9] |= {"age": "older"}
    rows[12] |= {"age": "inf"}
    with pytest.raises(InputError) as caught:
        load(Recipe(source=write(tmp_path / "bad.csv", rows)))
    message = str(caught.value)
    bad = ("line 6, column 'age', holds 'old'", "also line 11", "line 14", "inf", "'tomorrow'", "like 31/05/2024")
    for part in ("3 reasons", *bad):
        assert part in message
    columns = read_source(Recipe(source=people)).columns
    assert columns is not None
    with pytest.raises(InputError, match="line 6, column 'age'.*'tomorrow'"):
        columns.encode(read_table(tmp_path / "bad.csv"))


def test_rows_without_a_target_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [{**cells(row), "kind": "" if row in (3, 8) else cells(row)["kind"]} for row in range(ROWS)]
    data = read_source(Recipe(source=write(tmp_path / "p.csv", rows)))
    assert len(data.X) == ROWS - 2
    assert any("2 rows without a value of the target 'kind' (lines 5 and 10)" in note for note in data.notes)


@pytest.mark.parametrize(
    ("impute", "value", "colour"),
    [("median", 2.0, None), ("mean", 11 / 3, None), ("most-frequent", 1.0, "red"), ("none", None, None)],
)
def test_fill_values(tmp_path: Path, impute: str, value: float | None, colour: str | None) -> None:
    lines = ["a,c,k", "1,red,x", "9,red,y", "1,blue,x", "3,red,y", ",,x", "7,blue,y", "1,red,x", "2,,y"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines[:-2] if impute == "mean" else lines))
    recipe = Recipe(source=str(path), impute=impute)  # type: ignore[arg-type]
    if impute == "none":
        with pytest.raises(InputError, match=r"2 reasons.*line 6 .*'a'.*line 6 .*'c' \(also line 9\)"):
            read_source(recipe)
        return
    data = read_source(recipe)
    expected = value if impute != "mean" else (1 + 9 + 1 + 3 + 7) / 5
    assert feature(data, "a")[4] == expected
    assert feature(data, "a is missing").tolist() == [row == 4 for row in range(len(data.X))]
    assert feature(data, "c=red")[4] == (colour == "red")
    assert feature(data, "c=(missing)")[4] == 1


def test_rare_categories_share_a_feature_with_those_that_nobody_knew(tmp_path: Path) -> None:
    names = ["common"] * 60 + ["usual"] * 37 + ["rare", "odd", "seldom"]
    path = tmp_path / "t.csv"
    path.write_text("c,y\n" + "".join(f"{name},{row % 7}.5\n" for row, name in enumerate(names)))
    columns = read_source(Recipe(source=str(path))).columns
    assert columns is not None
    assert columns.feature_names == ("c=common", "c=usual", "c=(other)")
    X = columns.encode(Table("new", ("c",), (("odd", "never seen", "usual"),), (2, 3, 4)))[0]
    np.testing.assert_array_equal(X, [[0, 0, 1], [0, 0, 1], [0, 1, 0]])


def test_long_codes_stay_apart(tmp_path: Path) -> None:
    """Two of them are one float64 number."""
    path = tmp_path / "codes.csv"
    codes = ("9007199254740992", "9007199254740993", "7", "7.0")
    path.write_text("code,size,y\n" + "".join(f"{codes[k % 4]},{k},{k * k}\n" for k in range(20)))
    data = read_source(Recipe(source=str(path), categorical=("code",)))
    assert data.feature_names[:3] == ("code=7", "code=9007199254740992", "code=9007199254740993")


def test_numbers_may_be_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code,y\n" + "".join(f"{(row % 3) * 100},{row}.5\n" for row in range(12)))
    data = read_source(Recipe(source=str(path), categorical=("code",)))
    assert data.feature_names == ("code=0", "code=100", "code=200")
    frame = Table("frame", ("code",), (("100.0", "2e2"),), (0, 1))
    assert data.columns is not None
    np.testing.assert_array_equal(data.columns.encode(frame)[0], [[0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("id", lambda k: k * 37 % 101, False),
        ("id", lambda k: "" if k == 20 else k * 37 % 101, False),  # with a gap
        ("customerID", lambda k: k * 37 % 101, False),
        ("Unnamed: 0", lambda k: k, False),
        ("x", lambda k: k + 1, False),
        ("year", lambda k: 1990 + k, True),  # with a word to the user
        ("paid", lambda k: k * 37 % 101, True),  # no ID, though its name ends so
        ("size", lambda k: k * 0.5, True),
        ("code", lambda k: f"A{k}", False),
    ],
)
def test_what_looks_like_an_id(tmp_path: Path, name: str, value: Callable[[int], Any], kept: bool) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{value(k)},{k * k % 13}.25,{'ab'[k * k % 3 % 2]}" for k in range(40)]
    path.write_text(f"{name},z,y\n" + "\n".join(lines))
    split = load(Recipe(source=str(path)))
    assert (name in split.feature_names) == kept
    asked = load(Recipe(source=str(path), features=(name, "z")))
    assert asked.columns is not None
    assert name in asked.columns.inputs or name == "code"
    assert any("counts up by 1" in note for note in split.notes) == (name == "year")


@pytest.mark.parametrize(
    ("task", "leak"),
    [
        ("classification", lambda k, y: "pqr"[y]),
        ("classification", lambda k, y: 100 * y + k / 7),
        ("regression", lambda k, y: 3 * k - 1),
        ("regression", lambda k, y: math.exp(-k / 9)),
    ],
)
def test_a_column_that_tells_the_target_alone_is_named(
    tmp_path: Path, task: str, leak: Callable[[int, int], Any]
) -> None:
    path = tmp_path / "t.csv"
    lines = []
    for k in range(60):
        goal = k * k % 3 + (k % 5 == 0)
        target = f"{'uvw'[goal]}" if task == "classification" else f"{k * 1.5}"
        lines.append(f"{k * 31 % 17}.5,{leak(k, goal)},{target}")
    path.write_text("fair,suspect,y\n" + "\n".join(lines))
    split = load(Recipe(source=str(path)))
    warnings = [note for note in split.notes if "away" in note]
    assert len(warnings) == 1
    assert "'suspect' gives 'y' away" in warnings[0]
    assert "suspect" in {name.partition("=")[0] for name in split.feature_names}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"drop": ("shape", "size")}, ["no columns 'shape' and 'size'", "customer_id"]),
        ({"features": ("kind", "age")}, ["'kind'", "--features"]),
        ({"features": ("age",), "drop": ("age",)}, ["age", "--features"]),
        ({"features": ("shop",), "target": "kind", "drop": ("shop",)}, ["shop"]),
        ({"features": ("note",)}, []),
        ({"target": "note", "drop": ("note",)}, ["'note'", "--drop"]),
    ],
)
def test_options_that_contradict_the_table(people: str, options: dict[str, Any], parts: list[str]) -> None:
    if not parts:
        assert load(Recipe(source=people, **options)).X.shape[1] > 1
        return
    with pytest.raises(InputError) as caught:
        load(Recipe(source=people, **options))
    for part in parts:
        assert part in str(caught.value)


def test_plain_columns_for_a_network_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,one,y\n" + "".join(f"{k},1,{'ab'[k % 2]}\n" for k in range(20)))
    data = read_source(Recipe(source=str(path)).asked_by(None))
    np.testing.assert_array_equal(data.X, [[k, 1] for k in range(20)])


def test_ids_are_inputs_only_where_nothing_else_is_and_with_a_remark(tmp_path: Path) -> None:
    path, numbers = tmp_path / "t.csv", np.random.default_rng(0).permutation(40)
    path.write_text("customer_id,order_id,y\n" + "".join(f"{k},{3 * k + 1},{'ab'[k % 2]}\n" for k in numbers))
    split = load(Recipe(source=str(path)))
    assert split.columns is not None
    assert split.columns.inputs == ("customer_id", "order_id")
    for name in split.columns.inputs:
        assert f"Column {name!r} is an input because there is no other, although it identifies" in " ".join(split.notes)


def test_a_recipe_with_columns_survives_json_and_rebuilds_the_same_numbers(people: str) -> None:
    for recipe in (Recipe(source=people, drop=("age",)), Recipe(source=people, features=("age", "colour"))):
        split: Split = load(recipe)
        again = load(Recipe.from_json(json.loads(json.dumps(recipe.to_json()))))
        np.testing.assert_array_equal(again.X, split.X)
        assert split.columns is not None
        asked = recipe.asked_by(split.columns)
        back = Recipe.from_json(json.loads(json.dumps(asked.to_json())))
        assert back == asked
        np.testing.assert_array_equal(load(back).X, split.X)


GOOD = Columns(
    (
        Column("a", fill=1.0, indicator=True),
        Column("c", "category", categories=("u", "v"), other=True),
        Column("d", "date", fill=0.5, form="ISO", origin=3.0),
    ),
    "median",
    (("id", "it numbers the rows"),),
    "y",
).to_json()


def _changed(place: int, **parts: object) -> dict[str, object]:
    columns = [dict(column) for column in GOOD["columns"]]
    columns[place] |= parts
    return {**GOOD, "columns": columns}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        "x",
        {**GOOD, "more": 1},
        {**GOOD, "columns": []},
        {**GOOD, "columns": {"a": 1}},
        {**GOOD, "columns": GOOD["columns"] * 2},
        {**GOOD, "impute": "guess"},
        {**GOOD, "impute": []},
        {**GOOD, "left_out": [["a"]]},
        {**GOOD, "target": 3},
        {**GOOD, "target": GOOD["columns"][0]["name"]},
        {**GOOD, "left_out": [[GOOD["columns"][0]["name"], "it is an ID"]]},
        _changed(0, name=""),
        _changed(0, name=3),
        _changed(0, kind="text"),
        _changed(0, fill=math.nan),
        _changed(0, fill="u"),
        _changed(0, fill=None),
        _changed(0, fill=True),
        _changed(0, categories=["u"]),
        _changed(0, indicator=1),
        _changed(0, extra=1),
        _changed(1, categories=["u", "u"]),
        _changed(1, categories=["u", 3]),
        _changed(1, categories=[], other=False),
        _changed(1, fill="w"),
        _changed(0, origin=1.0),
        _changed(2, origin=math.inf),
        _changed(2, origin=1e300),
        _changed(2, fill=-1e9),
        _changed(2, form=None),
        _changed(2, form="%q%q"),
    ],
)
def test_damaged_columns_are_refused(value: object) -> None:
    assert Columns.from_json(GOOD).to_json() == GOOD
    with pytest.raises(InputError, match="damaged"):
        Columns.from_json(value)


def test_a_network_is_asked_about_its_own_columns_alone(people: str, tmp_path: Path) -> None:
    split = load(Recipe(source=people, split=False))
    assert split.columns is not None
    rows = [{"odd": "1" if row else "x", **cells(row)} for row in range(9)]
    names = ["kind", "odd", "seen", "opened", "smoker", "colour", "age"]
    recipe = Recipe(source=write(tmp_path / "new.csv", rows, names), drop=("absent",)).asked_by(split.columns)
    data = read_source(recipe)
    np.testing.assert_array_equal(data.X, split.columns.encode(read_table(people))[0][:9])
    np.testing.assert_array_equal(data.Y, split.Y[:9])
    assert any("odd" in note for note in data.notes)
    with pytest.raises(InputError, match="lacks the target column 'kind'"):
        read_source(replace(recipe, source=write(tmp_path / "bare.csv", rows, names[1:])))


def test_a_long_cell_takes_no_long_time() -> None:
    """Without a bound on what is tried again this would take hours."""
    assert parse_number(130_000 * "1" + "x") is None
    assert parse_number("1" + 300 * "0") == 1e300
    assert plain_numbers(["1\n2", "3"]) is None
    assert plain_numbers(["1", "-.5e1"]) is not None


@pytest.mark.parametrize("cell", ["24:00", "8:60", "13:00 pm", "0:30 am", "8", "1:2", "-1:30", "٠٨:٣٠"])
def test_no_time_of_day(cell: str) -> None:
    assert parse_time(cell) is None
    assert parse_time("12:30 a.m.") == 0.5
    assert parse_time("23:59:60") is None


@pytest.mark.parametrize(
    ("dates", "days", "noted"),
    [
        (("5-Jan-24", "31-May-24", "1-Dec-23"), (19727, 19874, 19692), False),
        (("May 3, 2024", "May 5, 2024", "May 9, 2024"), (19846, 19848, 19852), False),
        (("3 May 2024", "5 May 2024", "9 May 2024"), (19846, 19848, 19852), False),
        (("5/5/2024", "7/7/2024", "9/9/2024"), (19848, 19911, 19975), False),
        (("5/6/2024", "7/8/2024", "9/10/2024"), (19879 + 0, 19942, 20005), True),
    ],
)
def test_dates_with_names_of_months(tmp_path: Path, dates: Sequence[str], days: Sequence[int], noted: bool) -> None:
    path = tmp_path / "t.csv"
    path.write_text("day;y\n" + "".join(f"{dates[k % 3]};{k}.5\n" for k in range(12)))
    data = read_source(Recipe(source=str(path)))
    assert any("fit two forms" in note for note in data.notes) == noted
    if days and not noted:
        np.testing.assert_array_equal(data.X[:3, 0], np.array(days) - min(days))


def test_dates_and_answers_of_typed_tables_are_those_that_text_was(people: str) -> None:
    data = load(Recipe(source=people))
    assert data.columns is not None
    table = read_table(people)
    typed = {
        "seen": lambda cell: datetime.strptime(cell, "%d/%m/%Y").isoformat(),
        "smoker": lambda cell: {"Yes": "1.0", "no": "0.0"}[cell],
    }
    columns = [[*map(typed.get(name, str), table.column(name))] for name in table.names]
    again = data.columns.encode(replace(table, columns=tuple(columns)))[0]
    np.testing.assert_array_equal(again, data.columns.encode(table)[0])


@pytest.mark.parametrize("day", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_dates_of_no_year_are_names(tmp_path: Path, day: str) -> None:
    rows = [{"day": day if row % 2 else "2024-01-01", "y": f"{row}.5"} for row in range(30)]
    data = read_source(Recipe(source=write(tmp_path / "t.csv", rows[:10] + [rows[1]] * 20)))
    assert data.columns is not None
    assert f"day={day}" in data.feature_names
    assert data.columns.sentences()


@pytest.mark.parametrize("name", ["a", "y"])
def test_numbers_beyond_float64_are_numbers(tmp_path: Path, name: str) -> None:
    rows = [{"a": f"{row % 5}", "y": f"{row}.5"} for row in range(30)]
    rows[3][name] = "-1e400"
    with pytest.raises(InputError, match=f"line 5, column '{name}', holds -1e400, which is beyond"):
        read_source(Recipe(source=write(tmp_path / "t.csv", rows)))


@pytest.mark.parametrize("comma", [False, True])
def test_numbers_of_one_unit_are_numbers(tmp_path: Path, comma: bool) -> None:
    path, swap = tmp_path / "t.csv", str.maketrans(".,", ",." if comma else ".,")
    rows = [f"{k % 4} kg;€ {k % 3}.50;A{k % 2};-{k % 5}%;$1,{k:03}.50".translate(swap) for k in range(30)]
    lines = rows if comma else [f'"{row}"'.replace(";", '","') for row in rows]
    path.write_text("\n".join([("weight;price;code;share;y" if comma else "weight,price,code,share,y"), *lines]))
    data = read_source(Recipe(source=str(path), raw=True))
    assert data.columns is not None
    assert data.columns.feature_names == ("weight", "price", "code=A0", "code=A1", "share")
    assert data.X[7].tolist() == [3.0, 1.5, 0.0, 1.0, -2.0]
    assert data.Y[7].tolist() == [1007.5]


def test_numbers_of_several_units_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{k % 4} {'kg' if k % 2 else 'g'};{k % 3}.500 €;{k % 7},5" for k in range(30)]
    path.write_text("weight;price;y\n" + "\n".join(lines))
    said = [note for note in read_source(Recipe(source=str(path))).notes if "one unit" in note]
    assert [note.split("'")[1] for note in said] == ["weight", "price"]
    path.write_text("weight,y\n" + "".join(f"{k} {'kg' if k % 2 else 'g'},{k}.5\n" for k in range(30)))
    with pytest.raises(InputError, match="no column to learn from.*one unit"):
        read_source(Recipe(source=str(path)))
    path.write_text("weight,y\n" + "".join(f"{k},{k}.5\n" for k in range(30)) + "5 kg,1\n")
    with pytest.raises(InputError, match="line 32, column 'weight', holds '5 kg', which is not a number"):
        read_source(Recipe(source=str(path)))


@pytest.mark.parametrize(
    ("text", "decimal_comma", "found"),
    [
        ("1.234,50 €", True, (1234.5, "€")),
        ("1.234.567", True, (1234567.0, "")),
        ("1.234", True, (1.234, "")),
        ("1.234 €", True, None),
        ("12,5%", True, (12.5, "%")),
        ("-$1,234.50", False, (-1234.5, "$")),
        ("1,234", False, (1234.0, "")),
        ("1,23", False, None),
        *((f"{sign}0{mark}125{unit}", False, None) for sign in ("", "-") for mark in ",'" for unit in ("", " kg")),
        ("012,500", False, None),
        ("-0,125 kg", True, (-0.125, "kg")),
        ("0.125 kg", True, (0.125, "kg")),
        ("0.125", True, (0.125, "")),
        ("0.125,5", True, None),
        ("0.125.500", True, None),
        ("1'200.5", False, (1200.5, "")),
        ("1\N{NO-BREAK SPACE}200,5\N{NO-BREAK SPACE}€", True, (1200.5, "€")),
        ("12.5.2024", True, None),
        ("A5", False, None),
        ("5 kg m", False, None),
        ("+-5", False, None),
    ],
)
def test_quantities(text: str, decimal_comma: bool, found: tuple[float, str] | None) -> None:
    assert quantity(text, decimal_comma=decimal_comma) == found


def test_quoted_decimal_commas_are_not_read_a_thousand_times_too_large(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("share,y\n" + "".join(f'"{k % 2},{100 + k}",{k}.5\n' for k in range(30)))
    with pytest.raises(InputError, match="line 2, column 'share', holds '0,100', which is not a number"):
        read_source(Recipe(source=str(path)))
    path.write_text("x,y\n" + "".join(f'{k % 4},"{k % 2},{100 + k}"\n' for k in range(30)))
    with pytest.raises(InputError, match="line 2, column 'y', holds '0,100', which is not a number"):
        read_source(Recipe(source=str(path), task="regression"))


def test_points_that_may_separate_thousands_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("people;share;y\n" + "".join(f"{1 + k}.{k:03};-0.{k:03};{k},5\n" for k in range(30)))
    notes = read_source(Recipe(source=str(path))).notes
    assert [note.split("'")[1] for note in notes if "thousands" in note] == ["people"]


def test_a_row_of_totals_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(k % 7, 0.1 * k, k % 2, k * k / 7) for k in range(30)]
    lines = [*rows, (*(sum(row[j] for row in rows) for j in range(3)), 1.0)]
    path.write_text("a,b,c,y\n" + "".join(f"{a},{b:.2f},{c},{y}\n" for a, b, c, y in lines))
    (note,) = (note for note in read_source(Recipe(source=str(path))).notes if "totals" in note)
    assert "(line 32) holds the sum of the others in a, b and c" in note
    path.write_text("a,b,c,y\n" + "".join(f"{a},{b:.2f},{c},{y}\n" for a, b, c, y in rows))
    assert not any("totals" in note for note in read_source(Recipe(source=str(path))).notes)


def thousands(source: Path, **recipe: Any) -> list[str]:
    """What is said of columns whose separators may be of thousands."""
    notes = read_source(Recipe(source=str(source), **recipe)).notes
    return [note for note in notes if "thousands" in note]


def test_commas_that_may_separate_thousands_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    rows = [("income", "size", "share", "length", "full", "few", "y")]
    for k in range(30):
        income, few = f"{k},{200 + k}" if k % 3 else str(500 + k), "NA" if k == 7 else f"{1 + k}.500"
        full, y = f"{1 + k}.{k:03},250", f"{1 + k},{k:03}"
        rows.append((income, f"-{1 + k},{k:03} kg", f"0,{k:03}", f"{k},5", full, few, y))
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    said = thousands(path, task="regression")
    assert [note.split("'")[1] for note in said] == ["y", "income", "size", "few"]
    assert said[1] == (
        "Column 'income' holds '1,201', read with a decimal comma; leave the commas out if they separate thousands."
    )
    assert "'1.500', read with a decimal point; leave the points out" in said[3]
    assert [note.split("'")[1] for note in thousands(path, task="regression", target="full")] == [
        *("income", "size", "few", "y")
    ]
    assert "y" in {note.split("'")[1] for note in thousands(path, task="regression", weight_column="y", target="share")}
    path.write_text(",".join(rows[0]) + "\n" + '"1,200",' * 6 + "1\n" + "5," * 6 + "2\n")
    assert thousands(path, task="regression", raw=True) == []


def test_new_rows_with_commas_that_may_separate_thousands_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("x\tz\n1,200\t0,5\n950\t2,5\n")
    _, notes = Columns.numbers(("x", "z")).encode(read_table(path))
    assert [note.split("'")[1] for note in notes] == ["x"]


def test_points_of_thousands_beside_millions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;y\n" + "".join(f"1.{200 + k}.000;1\n{k + 1}.200;0\n" for k in range(10)))
    (said,) = thousands(path)
    assert "'1.200', read with a decimal point" in said
