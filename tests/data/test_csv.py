"""CSV files as people export them, and one sentence for each way to get them wrong."""

import codecs
from pathlib import Path

import numpy as np
import pytest

from certnet.io import Recipe, load, read_source
from certnet.io.cells import parse_number
from certnet.io.dataset import DataSet
from formulations import InputError

X = np.array([[1.5, -2.0], [0.25, 3e-2], [-4.0, 0.5]])


def read(path: Path, text: str | bytes, **options: object) -> DataSet:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_source(Recipe(source=str(path), **options))


@pytest.mark.parametrize(
    "text",
    [
        "a,b,kind\n1.5,-2,red\n0.25,3e-2,blue\n-4,.5,red\n",
        "a;b;kind\r\n1,5;-2;red\r\n0,25;3e-2;blue\r\n-4;0,5;red\r\n",
        "a\tb\tkind\n1,5\t-2\tred\n0,25\t3e-2\tblue\n-4\t0,5\tred",
        "sep=;\na;b;kind\n1,5;-2;red\n0,25;0,03;blue\n-4;0,5;red\n",
        '"a","b","kind"\n"1.5",-2,"red"\n0.25,3e-2,"blue"\n-4,0.5,"red"\n',
        "a,b,kind,,\n1.5,-2,red,,\n\n0.25,3e-2,blue\n,,,,\n-4,0.5,red,,,\n  \n",
        " a , b , kind \n 1.5 , -2 , red \n 0.25 , 3e-2 , blue \n \N{MINUS SIGN}4 , 0.5 , red \n",
        codecs.BOM_UTF8 + b"a,b,kind\n1.5,-2,red\n0.25,3e-2,blue\n-4,0.5,red\n",
        "a,b,kind\n1.5,-2,red\n0.25,3e-2,blue\n-4,0.5,red\n".encode("utf-16"),
        "a,b,kind\r1.5,-2,red\r0.25,3e-2,blue\r-4,0.5,red\r",
    ],
    ids=["comma", "semicolon", "tab", "sep-line", "quoted", "empty-columns", "spaces", "bom", "utf-16", "old-mac"],
)
def test_dialects_give_the_same_data(tmp_path: Path, text: str | bytes) -> None:
    data = read(tmp_path / "points.csv", text)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.Y, [[0, 1], [1, 0], [0, 1]])
    assert data.classes == ("blue", "red")
    assert data.feature_names == ("a", "b")


def test_target_in_the_middle_and_numeric_classes_in_numeric_order(tmp_path: Path) -> None:
    data = read(tmp_path / "t.csv", "a,size,b\n1,10,2\n3,9,4\n5,10.0,6\n", target="size", task="classification")
    assert data.classes == ("9", "10")
    np.testing.assert_array_equal(data.Y, [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4], [5, 6]])


def test_regression_keeps_the_target(tmp_path: Path) -> None:
    data = read(tmp_path / "t.csv", "a;y\n1;2,5\n2;-1\n", task="regression")
    np.testing.assert_array_equal(data.Y, [[2.5], [-1.0]])
    assert data.classes is None


def test_cells_with_line_breaks_do_not_shift_the_line_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 5, column 'a'.*'oops'"):
        read(tmp_path / "t.csv", 'a,k\n1,"two\nlines"\n2,red\noops,red\n')


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("", {}, ["t.csv is empty"]),
        ("\n \n", {}, ["is empty"]),
        ("\ufeff", {}, ["is empty"]),
        (";;;\n;;\n", {}, ["is empty"]),
        ("a,b,k\n", {}, ["no data rows"]),
        ("a,b,k\n1,2,x\n3,4,x\n", {}, ["only one class", "'x'"]),
        ("a,b,k\n1,2,7\n3,4,7\n", {}, ["only one class", "'7'", "--task regression"]),
        ("a,b,k\n1,2,\n3,4,?\n", {}, ["'k'", "no value", "--target"]),
        ("a,b,k\n1,2,0\n3,4,inf\n", {}, ["line 3", "infinite"]),
        ("a,b,k\n1,2,x\n3,4,y\n", {"target": "colour"}, ["no column 'colour'", "a, b and k"]),
        ("a,b,k\n1,2,x\n3,high,y\n", {}, ["line 3", "'b'", "'high'", "not a number"]),
        ("a,b,k\n1,2,x\n3,y\n", {}, ["line 3", "2 cells", "header has 3"]),
        ("a,b,k\n1,2,x\n3,4,y,5\n", {}, ["line 3", "4 cells", "header has 3"]),
        ("a,b,k\n1,,x\n3,4,y\n", {"impute": "none"}, ["line 2", "no value", "'b'"]),
        ("a,b,k\n1,NaN,x\n3,4,y\n", {"impute": "none"}, ["line 2", "no value", "'b'"]),
        ("a,b,k\n1,2,x\n-inf,4,y\n", {}, ["line 3", "'a'", "-inf", "infinite"]),
        ("a,b,k\n1,1e999,x\n3,4,y\n", {}, ["line 2", "'b'", "1e999"]),
        ("a,b,k\n1,2,x\n3,4,\n", {}, ["only one class", "'x'"]),
        ("a,a,k\n1,2,x\n3,4,y\n", {}, ["two columns named 'a'"]),
        (",a,k\n0,2,x\n0,4,y\n", {}, ["no name for column 1"]),
        ("1,2,3\n4,5,6\n", {}, ["no header line"]),
        ("5.1,0.2,rose\n4.9,0.3,rose\n6.1,0.2,iris\n", {}, ["no header line"]),
        ("a,b,k\n1,2,x\n3,-2e150,y\n", {}, ["t.csv line 3", "'b'", "-2e150", "beyond 1e+100"]),
        ("a,y\n1,2\n3,1e101\n", {"task": "regression"}, ["line 3", "'y'", "beyond 1e+100"]),
        ("k\nx\ny\n", {}, ["only the column 'k'"]),
        ("a,b,k\n1,2,x\n2,1,y\n", {"drop": ("a", "b")}, ["--drop leaves no feature"]),
        ('a,k\n1,"x\n2,y\n', {}, ["line 2", "quotes"]),
        (b"a,k\n1,gr\xfcn\n2,rot\n", {}, ["not UTF-8", "line 2"]),
        ("a;b;k\n1,5;2;x\n1.500;2;y\n", {}, ["line 3", "'a'", "'1.500'", "decimal"]),
        (
            "a,y\n" + "".join(f"1,{i}.5\n" for i in range(30)),
            {"task": "classification"},
            ["30 different numbers", "--task regression"],
        ),
        ("a,k\n1,x\n2,y\n", {"task": "regression"}, ["line 2", "'k'", "'x'", "not a number"]),
        ("a" * 200_000 + ",k\n1,x\n2,y\n", {}, ["line 1"]),
        (b"\x00\x01\x02\xff\xfe", {}, ["not UTF-8"]),
    ],
)
def test_bad_files_are_named_in_one_sentence(
    tmp_path: Path, text: str | bytes, options: dict[str, object], parts: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "t.csv", text, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("decimal", [".", ","])
def test_quantities_with_either_decimal_sign_are_no_classes(decimal: str, tmp_path: Path) -> None:
    data = read(
        tmp_path / "d.csv", "a;b;y\n" + "".join(f"{k};{k * k};{k + 0.5}\n" for k in range(6)).replace(".", decimal)
    )
    assert data.task == "regression"
    assert data.Y[:, 0].tolist() == [k + 0.5 for k in range(6)]


def test_words_for_what_is_missing_may_be_classes_among_other_words(tmp_path: Path) -> None:
    assert read(tmp_path / "d.csv", "a,b,k\n1,2,none\n3,4,some\n5,6,1\n").classes == ("1", "none", "some")


def test_what_python_reads_as_a_number_but_people_do_not_write() -> None:
    for text in ("nan", "inf", "1_000", "0x1", "", "1 000", "1,5", "١"):
        assert parse_number(text) is None, text
    assert parse_number(" -1.25e2 ") == -125.0
    assert parse_number("1,5", decimal_comma=True) == 1.5
    assert parse_number("1.000,5", decimal_comma=True) is None


def test_source_must_exist_and_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file.*iris"):
        load(Recipe(source=str(tmp_path / "absent.csv")))
    with pytest.raises(InputError, match=r"breast_cancer.*did you mean 'iris'\?$"):
        load(Recipe(source="irsi"))
    with pytest.raises(InputError, match="is a folder"):
        load(Recipe(source=str(tmp_path)))
    with pytest.raises(InputError, match="--target is about columns of a table"):
        load(Recipe(source="spiral", target="x"))


def test_wavelengths_are_good_column_names(tmp_path: Path) -> None:
    data = read(tmp_path / "t.csv", "400.5,401.5,kind\n1,2,rose\n3,4,iris\n")
    assert data.feature_names == ("400.5", "401.5")


def test_the_index_of_a_data_frame_is_no_column(tmp_path: Path) -> None:
    data = read(tmp_path / "t.csv", ",a,k\n7,2,x\n3,4,y\n12,5,x\n")
    assert data.feature_names == ("a",)
    assert any("numbers the rows" in note for note in data.notes)
