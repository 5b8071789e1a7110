"""A table of everything that people have: trained on, its recipe stated, and its numbers found again."""

from pathlib import Path

import pytest

from certificates import read_certificate
from certnet.io import TwoLayerNetwork
from certnet.io.runs import read_run
from certnet.io.tables import read_table
from tests.cli.support import Call, one_sentence
from tests.data.test_columns import cells, write


@pytest.fixture
def people(folder: Path) -> str:
    return write(folder / "people.csv", [cells(row) for row in range(40)])


def test_the_recipe_is_printed_kept_and_checked(certnet: Call, quick: None, people: str) -> None:
    options = ("--gamma", "1", "--drop", "seen", "--impute", "mean", "--categorical", '"age"')
    outcome = certnet("train", people, *options)
    assert outcome.code in (0, 3)
    for words in ("colour: a feature of 0 and 1", "customer_id: left out", "shop: left out", "age: a feature"):
        assert words in outcome.err
    run = read_run("people")
    assert [line.partition(":")[0] for line in run.report["data"]["columns"]] == [
        *("age", "colour", "smoker", "customer_id", "shop", "note"),
    ]
    network = TwoLayerNetwork.load("runs/people/network.npz")
    assert list(network.feature_names) == run.report["data"]["features"]
    z = network.features(network.encode(read_table(people)))
    certified = read_certificate("runs/people/optimality.cert").X[:, : z.shape[1]]
    assert {tuple(row) for row in certified.tolist()} <= {tuple(row) for row in z.tolist()}
    found = certnet("check", "people", "--data", people, "--json").json
    assert found["verdict"] == "PROVED"
    assert found["data"]["rows"]["columns"] == run.report["data"]["columns"]
    assert "left out" in certnet("check", "people", "--data", people).out


def test_a_changed_table_is_another(certnet: Call, quick: None, people: str) -> None:
    assert certnet("train", people, "--gamma", "1", "--no-split", "--quiet").code in (0, 3)
    text = Path(people).read_text()
    Path(people).write_text(text.replace("red", "rot"))
    assert certnet("check", "people", "--data", people).code == 0  # another name of a category is the same number
    Path(people).write_text(text.replace("red", "blue", 1))
    assert "other data" in one_sentence(certnet("check", "people", "--data", people))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drop", "colour,,age"), "--drop must be names"),
        (("--drop", ""), "--drop must be names"),
        (("--features", "kolour"), "no column 'kolour'"),
        (("--impute", "guess"), "--impute must be one of"),
        (("--impute", "none"), "2 reasons"),
    ],
)
def test_options_about_columns(certnet: Call, people: str, options: tuple[str, ...], words: str) -> None:
    assert words in one_sentence(certnet("train", people, *options))
    assert "about columns of a table" in one_sentence(certnet("train", "iris", "--drop", "x"))
