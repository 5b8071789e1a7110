"""Predicting new rows: columns by name, in any order, with or without the target; else one sentence."""

import csv
import errno
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import certnet as certnet_api
from certnet.io import read_network
from certnet.jobs.radius import certified_radius
from tests.cli.support import Call, files, one_sentence, quick_train

COLOURS = ("red", "green", "blue")


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows of mixed columns, with some values missing."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        size, colour = rng.normal(50, 10), str(rng.choice(COLOURS))
        outcome = "buys" if size + 9 * (colour == "red") > 54 else "leaves"
        size_text = "" if k % 9 == 4 else f"{size:.2f}"
        made.append({"id": f"C{k:04d}", "size": size_text, "colour": colour, "outcome": outcome})
    return made


def write(path: str, made: list[dict[str, str]], names: Sequence[str]) -> None:
    with Path(path).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(made)


@pytest.fixture
def shop(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on the rows above, with random weights."""
    monkeypatch.setattr("certnet.jobs.train.train", quick_train)
    write("shop.csv", rows(60), ("id", "size", "colour", "outcome"))
    assert certnet("train", "shop.csv", "--gamma", "1", "--quiet").code == 0
    return Path("runs/shop")


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.usefixtures("shop")
def test_columns_are_found_by_name_in_any_order(certnet: Call) -> None:
    new = rows(12, seed=1)
    write("new.csv", new, ("id", "size", "colour", "outcome"))
    write("turned.csv", [{**row, "extra": "x"} for row in new], ("extra", "colour", "size"))
    straight, turned = certnet("predict", "shop", "new.csv"), certnet("predict", "shop", "turned.csv")
    assert straight.code == turned.code == 0
    assert straight.out == turned.out
    assert "known 'outcome'" in straight.err
    assert "extra" in turned.err
    found = table(straight.out)
    assert [*found[0]] == ["row", "prediction", "p(buys)", "p(leaves)"]
    for row in found:
        chances = {name: float(row[f"p({name})"]) for name in ("buys", "leaves")}
        assert sum(chances.values()) == pytest.approx(1)
        assert row["prediction"] == max(chances, key=lambda name: chances[name])
    in_python = certnet_api.read_run("shop").predict("turned.csv")
    assert in_python["prediction"] == [row["prediction"] for row in found]
    frame = pytest.importorskip("pandas").read_csv("turned.csv")
    assert certnet_api.read_run("shop").predict(frame) == in_python
    with pytest.raises(certnet_api.InputError):
        certnet_api.read_run("shop").predict(3)
    write("lacking.csv", new, ("id", "outcome"))
    assert "size and colour" in one_sentence(certnet("predict", "shop", "lacking.csv"))


@pytest.mark.usefixtures("shop")
def test_a_file_of_predictions_is_whole_or_absent(certnet: Call) -> None:
    write("new.csv", rows(5, seed=2), ("size", "colour"))
    done = certnet("predict", "shop", "new.csv", "-o", "out.csv")
    assert done.out == "out.csv\n"
    assert Path("out.csv").read_text() == certnet("predict", "shop", "new.csv").out
    found = certnet("predict", "shop", "new.csv", "--json").json["results"]
    written = table(Path("out.csv").read_text())
    assert [row["prediction"] for row in found] == [row["prediction"] for row in written]
    assert "no folder" in one_sentence(certnet("predict", "shop", "new.csv", "-o", "absent/out.csv"))


def test_radii_are_proved_and_the_class_is_lost_at_the_attacked_one(
    certnet: Call, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("new.csv", rows(2, seed=3), ("size", "colour"))
    asked = ("predict", "shop", "new.csv", "--radius-norm", "l2", "--largest-radius", "20", "--input-limit", "5")
    searches = []

    def recorded(network: Any, x: np.ndarray, label: int, **options: Any) -> certnet_api.CertifiedRadius:
        searches.append((x, label, certified_radius(network, x, label, **options)))
        return searches[-1][2]

    monkeypatch.setattr("certnet.jobs.radius.certified_radius", recorded)
    found = certnet(*asked, "--json").json["results"]
    network = read_network(shop).with_scores()
    assert network.outputs == 2
    for row, (x, label, search) in zip(found, searches, strict=True):
        kept, lost = row["certified radius (l2)"], row["attacked radius (l2)"]
        assert 0 < kept <= lost < 20
        assert lost - kept <= 1e-3 * lost
        there = search.counterexample.x
        assert np.linalg.norm(there - x) <= lost * (1 + 1e-12)
        before, after = network(np.stack([x, there]))
        assert before.argmax() == label
        assert after[1 - label] >= after[label]
    assert "--radius-norm" in one_sentence(certnet("predict", "shop", "new.csv", "--largest-radius", "1"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("certnet.jobs.radius.certified_radius", interrupted)
    cut = certnet(*asked, "-o", "cut.csv")
    assert cut.code == 130
    assert [row["certified radius (l2)"] for row in table(Path("cut.csv").read_text())] == ["", ""]


@pytest.mark.usefixtures("shop")
def test_what_a_full_disk_does_not_take_goes_to_stdout(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write("new.csv", rows(2, seed=3), ("size", "colour"))
    asked = ("predict", "shop", "new.csv", "--radius-norm", "linf", "--largest-radius", "1", "--input-limit", "5")
    there = certnet(*asked)
    monkeypatch.setattr("certnet.io.output.write_atomically", full)
    done = certnet(*asked, "-o", "out.csv")
    assert (done.code, done.out) == (2, there.out)
    assert "No space left" in done.err
    found = certnet(*asked, "-o", "out.csv", "--json")
    assert found.code == 2
    assert found.json["files"] == {}
    assert "No space left" in found.json["notes"][-1]
    assert [row["certified radius (linf)"] for row in found.json["results"]] == [
        float(row["certified radius (linf)"]) for row in table(there.out)
    ]


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (("lipschitz", "shop", "--local", "new.csv", "--radius", "0.1"), ("--target", "--drop", "--weight-column")),
        (("range", "shop", "new.csv"), ("--target", "--drop", "--weight-column")),
        (("radius", "shop", "new.csv"), ("--target", "--drop", "--weight-column")),
        (("verify", "shop", "new.csv", "--norm", "linf", "--radius", "0"), ("--drop",)),
        (("audit", "shop", "new.csv", "--norm", "linf", "--radii", "0.1"), ("--drop",)),
    ],
)
@pytest.mark.usefixtures("shop")
def test_columns_are_not_named_for_a_network_that_finds_its_own(
    certnet: Call, call: tuple[str, ...], options: tuple[str, ...]
) -> None:
    write("new.csv", rows(3, seed=3), ("id", "size", "colour", "outcome"))
    for option in options:
        said = one_sentence(certnet(*call, option, "id"))
        assert said == f"certnet: Leave {option} out: the network finds its columns by name.\n"


@pytest.mark.usefixtures("quick")
def test_numbers_are_predicted_in_their_own_units(certnet: Call) -> None:
    rng = np.random.default_rng(0)
    made = [{"a": f"{a:.3f}", "b": f"{b:.3f}", "y": f"{3 * a - b + 1.5:.3f}"} for a, b in rng.normal(size=(40, 2))]
    write("plane.csv", made, ("a", "b", "y"))
    assert certnet("train", "plane.csv", "--gamma", "0.1", "--quiet").code == 0
    done = certnet("predict", "plane", "plane.csv")
    assert "R² is" in done.err
    found = np.array([float(row["prediction"]) for row in table(done.out)])
    X = np.array([[float(row["a"]), float(row["b"])] for row in made])
    assert found == pytest.approx(read_network("plane").predict(X)[:, 0])
    for given in (("predict", "plane", "plane.csv", "--radius-norm", "l2"), ("radius", "plane", "plane.csv")):
        assert "predicts numbers" in one_sentence(certnet(*given))
    assert "predicts numbers" in one_sentence(certnet("audit", "plane", "--norm", "linf", "--radii", "1"))
    assert "predicts numbers" in one_sentence(certnet("verify", "plane", "plane.csv", "--norm", "l2", "--radius", "1"))
    # A file alone names no loss: its outputs are given as they are.
    assert [*table(certnet("predict", "runs/plane/network.npz", "plane.csv").out)[0]] == ["row", "output 0"]


@pytest.mark.usefixtures("shop")
def test_constants_near_new_rows_need_no_target(certnet: Call) -> None:
    write("new.csv", rows(2, seed=3), ("colour", "size"))
    done = certnet("lipschitz", "shop", "--local", "new.csv", "--radius", "0.1", "--time-limit", "2", "--json")
    assert done.code == 0
    assert [row["row"] for row in done.json["results"]] == [0, 1]
    write("lacking.csv", rows(2, seed=3), ("colour",))
    assert "size" in one_sentence(certnet("lipschitz", "shop", "--local", "lacking.csv", "--radius", "0.1"))


@pytest.mark.usefixtures("shop")
def test_answers_that_stand_nowhere_else_need_a_standard_output(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            if self.getvalue():
                raise OSError(errno.ENOSPC, "No space left on device")

    for arguments in (("predict", "shop", "shop.csv"), ("show", "shop"), ("compare", "shop", "shop")):
        monkeypatch.setattr("sys.stdout", Full())
        outcome = certnet(*arguments)
        assert outcome.code == 2
        assert "No space left" in outcome.err
    monkeypatch.setattr("sys.stdout", Full())
    assert certnet("predict", "shop", "shop.csv", "-o", "new.csv").code == 0


@pytest.mark.usefixtures("shop")
def test_what_was_compared_names_the_classes(certnet: Call) -> None:
    done = certnet("check", "shop", "--data", "shop.csv")
    assert "2 classes (buys and leaves)" in done.out


@pytest.mark.usefixtures("shop")
def test_ctrl_c_leaves_no_half_of_a_file(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    write("new.csv", rows(2, seed=3), ("colour", "size"))
    monkeypatch.setattr("certnet.io.answers.answers", interrupted)
    monkeypatch.setattr("certnet.report.page", interrupted)
    before = files(Path())
    for call in (("predict", "shop", "new.csv", "-o", "out.csv"), ("report", "shop", "--html", "p.html")):
        outcome = certnet(*call)
        assert (outcome.code, outcome.out) == (130, "")
        assert one_sentence(outcome) == "certnet: Interrupted.\n"
    assert files(Path()) == before
