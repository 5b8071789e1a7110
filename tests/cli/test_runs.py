"""A run's folder as a network: its own treatment of data holds, and a folder that is none is one sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import read_network
from certnet.io.runs import find_run, read_run, read_runs
from formulations import InputError
from tests.cli.support import Call, one_sentence, quick_train


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run is kept for the next test."""
    return tmp_path_factory.mktemp("kept") / "iris"


@pytest.fixture
def run(certnet: Call, monkeypatch: pytest.MonkeyPatch, kept: Path) -> Path:
    """``runs/iris``, trained on standardised features with a seed of its own."""
    monkeypatch.setattr("certnet.jobs.train.train", quick_train)
    if not kept.exists():
        assert certnet("train", "iris", "--seed", "3", "--gamma", "0.5", "--quiet").code == 0
        shutil.copytree("runs/iris", kept)
    else:
        shutil.copytree(kept, "runs/iris")
    return Path("runs/iris")


def test_a_run_is_its_network_by_path_and_by_name(run: Path) -> None:
    for name in (run, str(run), "iris"):
        assert np.array_equal(read_network(name).network.hidden, read_network(run / "network.npz").network.hidden)
    found = read_run("iris")
    assert (found.name, found.command, found.certificate) == ("iris", "train", run / "optimality.cert")
    assert found.recipe.seed == 3
    assert read_runs("iris")[0].path == found.path
    assert found.headline.text == found.report["headline"]
    assert repr(found).startswith("Run(path: runs/iris, command: train, gamma: 0.5, objective: ")


def test_commands_treat_data_as_the_run_did(certnet: Call, run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    audit = certnet("audit", "iris", "--norm", "linf", "--radii", "1e-9", "--json").json
    assert audit["clean_accuracy"] == report["accuracy"]["test"]
    assert Path(audit["files"]["report"]).parent == Path("runs/audit/iris-iris-linf-1e-09")
    assert certnet("verify", "iris", "iris", "--norm", "l2", "--radius", "0", "--rows", "0:2").code in (0, 1, 3)
    bounded = ("optimality", "iris", "iris", "--no-train", "--gap", "0.9999", "--time-limit", "1", "--json")
    again = certnet(*bounded).json
    assert again["objective"] == pytest.approx(report["objective"], rel=1e-12)
    assert Path(again["files"]["report"]).parent == Path("runs/optimality/iris-iris")
    assert certnet(*bounded, "--gamma", "5").json["gamma"] == pytest.approx(5)


def test_data_of_one_name_do_not_take_each_others_folder(certnet: Call, folder: Path) -> None:
    table = "x,y\n" + "".join(f"{k / 7},{k % 3}\n" for k in range(40))
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / "t.csv").write_text(table)
    short = ("--gamma", "5", "--gap", "0.9", "--time-limit", "2", "--quiet")
    assert certnet("train", "a/t.csv", *short).code == 0
    before = (folder / "runs/t/report.json").read_bytes()
    done = certnet("train", "b/t.csv", *short)
    assert done.code == 2
    assert "runs/t holds a run on a/t.csv; choose another --out for b/t.csv." in one_sentence(done)
    assert (folder / "runs/t/report.json").read_bytes() == before
    assert certnet("train", str((folder / "a/t.csv").resolve()), *short).code == 0
    assert certnet("train", "b/t.csv", *short, "--out", "runs/t").code == 0  # as asked for


@pytest.mark.usefixtures("run")
def test_rows_of_other_data_are_all_new(certnet: Call, folder: Path) -> None:
    names = ("petal length", "sepal width", "sepal length", "petal width")
    lines = [
        ",".join(f"{name} (cm)" for name in names) + ",kind",
        *(f"1.{k},3,5,0.2,setosa" for k in range(4)),
        "5,3,6,2,virginica",
    ]
    (folder / "new.csv").write_text("\n".join(lines))
    audit = certnet("audit", "iris", "new.csv", "--norm", "linf", "--radii", "1e-9", "--json").json
    assert audit["data"]["part"] == "all"
    assert audit["data"]["n"] == 5


def test_check_takes_folders(certnet: Call, run: Path) -> None:
    assert "lower bound" in certnet("check", "iris").out
    table = certnet("check", "runs", run / "optimality.cert")
    assert table.code == 0
    assert table.out.count("PROVED") == 2
    (run / "optimality.cert").unlink()
    assert "no certificate" in one_sentence(certnet("check", run))


def test_a_folder_that_is_no_run_is_one_sentence(certnet: Call, run: Path) -> None:
    assert find_run("") is None
    assert "did you mean iris" in _refused("irsi")
    assert "is a file" in _refused(run / "report.json")
    Path("empty").mkdir()
    assert "holds no report.json" in _refused("empty")
    assert "holds runs; name one" in _refused("runs")
    (run / "report.json").write_text("{")
    assert "damaged" in _refused("iris")
    (run / "report.json").write_text('{"schema": "other"}')
    assert "no report of certnet" in one_sentence(certnet("verify", "iris", "iris", "--norm", "l2", "--radius", "1"))


def test_a_report_that_says_too_little_is_one_sentence(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**report, "data": None, "gamma": "1"}))
    found = read_run(run)
    for wanted in ("recipe", "objective"):
        with pytest.raises(InputError, match="does not say"):
            getattr(found, wanted)
    (run / "report.json").write_text(json.dumps({**report, "command": "optimality"}))
    with pytest.raises(InputError, match="no network"):
        read_network(run)


def _refused(path: object) -> str:
    with pytest.raises(InputError) as caught:
        read_run(str(path))
    return str(caught.value)


def test_show_says_what_a_run_is(certnet: Call, run: Path) -> None:
    shown = certnet("show", "iris")
    assert shown.code == 0
    meaning, *rest = shown.out.splitlines()
    assert "better" in meaning
    said = " ".join(" ".join(rest).replace("│", " ").split())
    for wanted in ("certified lower bound", "petal width", "setosa, versicolor and virginica", "network.npz", "next"):
        assert wanted in said
    assert certnet("show", "iris", "--json").json["run"]["gamma"] == 0.5
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**report, "stages": 3}))
    assert "damaged" in one_sentence(certnet("show", "iris"))
    (run / "report.json").write_text(json.dumps({**report, "notes": ["\x1b[2J"], "loss": "a\x07"}))
    assert "\x1b" not in certnet("show", "iris").out


@pytest.mark.usefixtures("run")
def test_compare_marks_the_best_on_validation_rows_alone(certnet: Call) -> None:
    def edited(name: str, **changes: Any) -> Path:
        folder = Path("runs") / name
        shutil.copytree("runs/iris", folder)
        report = json.loads((folder / "report.json").read_text())
        (folder / "report.json").write_text(json.dumps(report | changes))
        return folder

    loss = {"train": 0.9, "validation": 0.01, "test": 0.9}
    # A file is not folded, however long the names.
    good = "good-" * 20
    edited(good, log_loss=loss, gamma=0.25)
    edited("lucky", log_loss=loss | {"validation": 9.0, "test": 0.001})
    found = certnet("compare", "iris", good, "lucky", "--json").json
    assert [row["best"] for row in found["results"]] == [False, True, False]
    assert found["best"] == f"runs/{good}"
    assert any("weight decays" in sentence for sentence in found["differences"])
    text = certnet("compare", "iris", good).out
    assert f"runs/{good} *" in text
    certnet("train", "iris", "--seed", "4", "--gamma", "0.5", "--out", "other", "--quiet")
    apart = certnet("compare", "iris", "other", "--json").json
    assert apart["best"] is None
    assert any("different rows" in sentence for sentence in apart["differences"])
    data = json.loads(Path("runs/iris/report.json").read_text())["data"]
    edited("petals", data=data | {"target": "petals"}, output_bias="none")
    apart = certnet("compare", "iris", "petals", "--json").json
    assert apart["best"] is None
    assert any("biases" in sentence for sentence in apart["differences"])
    edited("odd", log_loss="x", accuracy=[1], objective="high", data=None, gamma=None)
    assert certnet("compare", "iris", "odd").code == 0


@pytest.mark.usefixtures("run")
def test_export_and_report_write_files(certnet: Call) -> None:
    done = certnet("export", "iris", "--numpy", "a.npz", "--float32")
    assert done.code == 0
    assert "scores = " in done.out
    assert certnet("export", "a.npz", "--numpy", "b.npz", "--json").json["results"][0]["difference"] < 1e-12
    page = certnet("report", "iris", "--html", "page.html")
    assert page.code == 0
    assert Path("page.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert "--html FILE.html" in one_sentence(certnet("report", "iris"))
    assert "--onnx FILE.onnx" in one_sentence(certnet("export", "iris"))


@pytest.mark.usefixtures("run")
def test_a_file_knows_no_data_of_its_own(certnet: Call) -> None:
    done = certnet("audit", "runs/iris/network.npz", "--norm", "l2", "--radii", "1")
    assert "Name the data" in one_sentence(done)


@pytest.mark.slow
def test_a_report_may_hold_anything(certnet: Call, run: Path) -> None:
    text = (run / "report.json").read_text()
    shutil.copytree(run, "runs/good")
    for name in json.loads(text):
        for value in (None, "\x1b[1m", -1, 10**400, [None], {}):
            (run / "report.json").write_text(json.dumps({**json.loads(text), name: value}))
            for call in (("show", "iris"), ("compare", "iris", "good")):
                done = certnet(*call)
                assert done.code in (0, 2), (name, value, done.err)
                assert "\x1b" not in done.out + done.err
