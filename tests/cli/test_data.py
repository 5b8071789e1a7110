"""A table of everything that people have: trained on, its recipe stated, and its numbers found again."""

from pathlib import Path

import numpy as np
import pytest

from certificates import read_certificate
from certnet.io import TwoLayerNetwork
from certnet.io.answers import new_rows
from certnet.io.runs import read_run
from formulations.network import ReluNetwork
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
        *("age", "colour", "smoker", "opened", "customer_id", "shop", "note"),
    ]
    network = TwoLayerNetwork.load("runs/people/network.npz")
    assert list(network.feature_names) == run.report["data"]["features"]
    z = network.features(new_rows(network, people)[0])
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


def test_a_check_says_which_values_of_the_file_were_filled_in(certnet: Call, quick: None) -> None:
    """One missing value makes no feature of its own, and the median of the others may be what stood there."""
    cells = [*(7 * k % 60 for k in range(60)), 29.5]
    made = "".join(f"{cell},{k % 3},{k * k % 7}\n" for k, cell in enumerate(cells))
    Path("gap.csv").write_text("size,other,y\n" + made)
    assert certnet("train", "gap.csv", "--gamma", "1", "--no-split", "--quiet", "--task", "regression").code in (0, 3)
    before = certnet("check", "gap", "--data", "gap.csv")
    assert before.code == 0
    Path("gap.csv").write_text("size,other,y\n" + made.replace("29.5,", ","))
    after = certnet("check", "gap", "--data", "gap.csv")
    assert after.code == 0  # the features are equal
    said = "lacks a value of column 'size'"
    assert said not in before.out
    assert said in " ".join(after.out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--drop", "colour,,age"), "--drop must be names"),
        (("--drop", ""), "--drop must be names"),
        (("--features", "kolour"), "no column 'kolour'"),
        (("--impute", "guess"), "--impute must be one of"),
        (("--impute", "none"), "3 reasons"),
    ],
)
def test_options_about_columns(certnet: Call, people: str, options: tuple[str, ...], words: str) -> None:
    assert words in one_sentence(certnet("train", people, *options))
    assert "about columns of a table" in one_sentence(certnet("train", "iris", "--drop", "x"))


def test_a_network_of_another_tool_takes_all_columns_but_those_that_are_dropped(certnet: Call, folder: Path) -> None:
    own = ReluNetwork(np.eye(2), np.zeros(2), np.array([[1.0, -1.0], [-1.0, 1.0]]), np.zeros(2))
    TwoLayerNetwork(own, classes=("left", "right")).save("net.npz")
    Path("rows.csv").write_text("id,a,b,side\n" + "".join(f"{k},{k},{9 - k},{'lr'[k < 5]}\n" for k in range(10)))
    text = Path("rows.csv").read_text().replace(",l\n", ",left\n").replace(",r\n", ",right\n")
    Path("rows.csv").write_text(text)
    verify = ("verify", "net.npz", "rows.csv", "--norm", "linf", "--radius", "0")
    assert "3 features" in one_sentence(certnet(*verify))
    outcome = certnet(*verify, "--drop", "id")
    assert [line.split()[1] for line in outcome.out.splitlines()[:10]] == ["unsat"] * 10
    audit = ("audit", "net.npz", "rows.csv", "--norm", "linf", "--radii", "0.1", "--part", "all", "--json")
    assert certnet(*audit, "--drop", "id").json["clean_accuracy"] == 1
    near = ("lipschitz", "net.npz", "--local", "rows.csv", "--radius", "0.1", "--rows", "0")
    assert certnet(*near, "--drop", "id").code == 0
    bound = ("optimality", "net.npz", "rows.csv", "--raw", "--no-split", "--gamma", "1", "--no-train")
    assert "3" in one_sentence(certnet(*bound))
    assert certnet(*bound, "--drop", "id", "--time-limit", "1", "--quiet").code in (0, 3)
