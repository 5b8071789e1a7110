"""``certnet train --gammas``: folders, table, the choice by validation rows, interruptions and resuming."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Certificate, Verdict, check, read_certificate, write_certificate
from certnet.cli import main
from certnet.cli.limits import positive_numbers
from certnet.cli.path import folder_name
from certnet.io import Recipe, load
from certnet.io.network import TwoLayerNetwork
from certnet.jobs import path as _path
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint
from certnet.jobs.train import TrainingResult
from formulations import InputError, TrainingProgram
from tests.certificates.altering import replace
from tests.cli.support import Call, files, one_sentence, quick_train, strict, write_points

RESULTS = ["network.npz", "optimality.cert", "report.json"]
IMPROVING = {name: getattr(_path, name) for name in ("_exchange", "polish")}


@pytest.fixture(autouse=True)
def _nothing_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks stay as the quick job made them, for that costs more than all else; tests of the true path undo it."""
    monkeypatch.setattr(_path, "_exchange", lambda *_: True)
    monkeypatch.setattr(_path, "polish", lambda program, U, V, **_: (U, V))


@pytest.fixture
def improving(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, original in IMPROVING.items():
        monkeypatch.setattr(_path, name, original)


class Recorded:
    """The quick job, with a record of its calls."""

    def __init__(self, *, interrupted_at: float | None = None) -> None:
        self.interrupted_at = interrupted_at
        self.calls: list[tuple[float, dict[str, Any]]] = []

    @property
    def gammas(self) -> list[float]:
        return [gamma for gamma, _ in self.calls]

    def __call__(self, program: TrainingProgram, **options: Any) -> TrainingResult:
        self.calls.append((program.gamma, options))
        result = quick_train(program, **options)
        if program.gamma != self.interrupted_at:
            return result
        options["checkpoint"](
            Checkpoint(
                fingerprint=program_fingerprint(program),
                stage="relaxation",
                seconds=1.0,
                solver="admm",
            )
        )
        return replace(result, interrupted=True, resumable=True)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    job = Recorded()
    monkeypatch.setattr("certnet.jobs.train.train", job)
    return job


@pytest.mark.usefixtures("quick", "points")
def test_each_gamma_has_three_files_and_the_table_agrees_with_them(certnet: Call, folder: Path) -> None:
    outcome = certnet("train", "points.csv", "--gammas", "1,0.3,0.1", "--out", "o", "--json")
    assert outcome.code == 0
    names = ["gamma_0.1", "gamma_0.3", "gamma_1"]
    assert files(folder / "o") == sorted([*names, *(f"{a}/{b}" for a in names for b in RESULTS), "path.json"])
    table = outcome.json
    assert strict((folder / "o/path.json").read_text()) == table
    assert (table["schema"], table["command"], table["verdict"]) == ("certnet/1", "train", "PROVED")
    assert table["gammas"] == [row["gamma"] for row in table["results"]] == [1.0, 0.3, 0.1]
    assert table["missing"] == []
    for row in table["results"]:
        report = strict((folder / row["folder"] / "report.json").read_text())
        for name in ("gamma", "verdict", "objective", "lower_bound", "gap", "rank", "width", "accuracy", "seconds"):
            assert row[name] == report[name]
        certificate = read_certificate(folder / row["folder"] / "optimality.cert")
        assert certificate.gamma == row["gamma"]
        assert check(certificate).verdict is Verdict.PROVED
        assert certificate.U.shape[1] == row["width"]
        network = TwoLayerNetwork.load(folder / row["folder"] / "network.npz")
        assert network.network.width == row["width"]
    objectives = [row["objective"] for row in table["results"]]
    assert objectives == sorted(objectives, reverse=True)


@pytest.mark.usefixtures("quick", "points")
def test_the_table_is_shown_and_the_summaries_are_printed(certnet: Call) -> None:
    outcome = certnet("train", "points.csv", "--gammas", "0.1,1")
    meaning, *lines = outcome.out.splitlines()
    assert "weak" in meaning
    assert [line.split(":")[0] for line in lines] == ["gamma 0.1", "gamma 1", "runs/points/path.json"]
    for word in ("γ", "lower bound", "gap", "rank", "neurons", "validation", " *", "best on the validation rows"):
        assert word in outcome.err
    assert certnet("train", "points.csv", "--gammas", "0.1,1", "--quiet").err == ""


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_best_gamma_is_chosen_on_validation_rows_alone(
    task: str, certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test rows say the opposite of validation rows, and are not listened to."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2))
    truth = np.abs(X[:, 0]) - np.abs(X[:, 1])
    Y = np.where(truth > 0, "a", "b") if task == "classification" else truth[:, None]
    other = np.where(truth > 0, "b", "a") if task == "classification" else -truth[:, None]
    np.savez("d.npz", X_train=X, Y_train=Y, X_val=X, Y_val=Y, X_test=X, Y_test=other)

    def train(program: TrainingProgram, **options: Any) -> TrainingResult:
        """A large γ gets the good network of a small γ, so that the choice must be the large one."""
        result = quick_train(program, **options)
        without = replace(result.certificate, U=0.0 * result.U)
        return result if program.gamma < 1 else replace(result, certificate=without)

    monkeypatch.setattr("certnet.jobs.train.train", train)
    table = certnet("train", "d.npz", "--raw", "--task", task, "--gammas", "2,0.01", "--out", "o", "--json").json
    score = "log_loss" if task == "classification" else "mean_squared_error"
    assert table["best"]["score"] == score
    assert table["best"]["gamma"] == 0.01
    assert [row["best"] for row in table["results"]] == [False, True]
    validation = [row[score]["validation"] for row in table["results"]]
    assert table["best"]["validation"] == validation[1]
    assert min(validation) == validation[1]
    test = [row[score]["test"] for row in table["results"]]
    assert min(test) == test[0]
    assert test[0] != test[1]


@pytest.mark.usefixtures("quick", "points")
def test_nothing_is_chosen_without_validation_rows(certnet: Call) -> None:
    table = certnet("train", "points.csv", "--gammas", "1,0.1", "--no-split", "--json").json
    assert table["best"] is None
    assert [row["best"] for row in table["results"]] == [False, False]


@pytest.mark.usefixtures("points")
def test_an_interruption_keeps_what_is_finished_and_resume_does_the_rest(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Recorded(interrupted_at=0.3)
    monkeypatch.setattr("certnet.jobs.train.train", job)
    arguments = ("train", "points.csv", "--gammas", "0.1,1,0.3", "--json", "--raw")
    outcome = certnet(*arguments, "--out", "o")
    assert outcome.code == 130
    assert "missing: 0.1" in outcome.err
    assert outcome.json["missing"] == [0.1]
    assert [row["gamma"] for row in outcome.json["results"]] == [1.0, 0.3]
    assert not (folder / "o/gamma_0.1").exists()
    assert sorted(path.name for path in (folder / "o/gamma_0.3").iterdir()) == ["checkpoint.npz", *RESULTS]
    proof = (folder / "o/gamma_1/optimality.cert").read_bytes()

    shutil.copytree(folder / "o", folder / "damaged")
    (folder / "damaged/gamma_0.3/checkpoint.npz").write_bytes(b"nonsense")
    monkeypatch.setattr("certnet.jobs.train.train", again := Recorded())
    outcome = certnet(*arguments, "--resume", "damaged")
    assert outcome.code == 0
    assert "γ = 0.3 starts anew" in outcome.err
    assert [call[1]["resume"] for call in again.calls] == [None, None]

    monkeypatch.setattr("certnet.jobs.train.train", again := Recorded())
    outcome = certnet(*arguments, "--resume", "o")
    assert outcome.code == 0
    assert again.gammas == [0.3, 0.1]
    assert again.calls[0][1]["resume"].solver == "admm"
    assert again.calls[1][1]["resume"] is None
    assert [call[1]["start"].gamma for call in again.calls] == [1.0, 0.3]
    assert "γ = 1 is finished" in outcome.err
    table = outcome.json
    assert table["gammas"] == [row["gamma"] for row in table["results"]] == [0.1, 1.0, 0.3]
    assert table["missing"] == []
    assert (folder / "o/gamma_1/optimality.cert").read_bytes() == proof
    assert not (folder / "o/gamma_0.3/checkpoint.npz").exists()
    row = table["results"][1]
    assert (row["rank"], row["verdict"]) == (3, "PROVED")


SPOIL = [
    *("report", "certificate", "network", "other network", "other gamma", "other data", "claims"),
    *("hostile report", "wrong types"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a path of two γ."""
    home = tmp_path_factory.mktemp("finished")
    write_points(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr("certnet.jobs.train.train", quick_train)
        patch.setattr(_path, "_exchange", lambda *_: True)
        patch.setattr(_path, "polish", lambda program, U, V, **_: (U, V))
        assert main(["train", "points.csv", "--gammas", "10,0.1", "--out", "o", "--quiet"]) == 0
    return home / "o"


@pytest.mark.parametrize("what", SPOIL)
@pytest.mark.usefixtures("points")
def test_resume_believes_no_file(what: str, certnet: Call, folder: Path, recorded: Recorded, finished: Path) -> None:
    """A γ whose files are damaged or do not fit is solved again; figures that were edited are put right."""
    shutil.copytree(finished, folder / "o")
    one, other = folder / "o/gamma_10", folder / "o/gamma_0.1"
    report = json.loads((one / "report.json").read_text())
    extra: list[str] = []
    match what:
        case "report":
            (one / "report.json").write_text("{")
        case "hostile report":
            (one / "report.json").write_text("[" * 100_000)
        case "certificate":
            (one / "optimality.cert").write_bytes(b"nonsense")
        case "network":
            (one / "network.npz").unlink()
        case "other network":
            shutil.copy(other / "network.npz", one / "network.npz")
        case "wrong types":
            (one / "report.json").write_text(json.dumps({**report, "seconds": "1", "rank": [], "stages": 3}))
        case "other gamma":
            shutil.copy(other / "optimality.cert", one / "optimality.cert")
        case "other data":
            extra = ["--seed", "1"]
        case "claims":
            certificate = read_certificate(one / "optimality.cert")
            bold = replace(certificate, lower_bound=1.01 * certificate.lower_bound)
            write_certificate(one / "optimality.cert", bold)
    outcome = certnet("train", "points.csv", "--gammas", "10,0.1", "--resume", "o", "--json", *extra)
    assert outcome.code == 0
    assert recorded.gammas == ([10.0, 0.1] if what == "other data" else [10.0])
    recorded.calls.clear()
    edited = {**report, "lower_bound": 1e9, "objective": -1.0, "verdict": "REFUTED", "accuracy": None, "width": 0}
    if what != "other data":
        (one / "report.json").write_text(json.dumps(edited))
        row = certnet("train", "points.csv", "--gammas", "10,0.1", "--resume", "o", "--json").json["results"][0]
        assert recorded.gammas == []
        for name in ("lower_bound", "objective", "verdict", "accuracy", "width"):
            assert row[name] == report[name]


@pytest.mark.usefixtures("improving", "points")
def test_known_results_are_improved_and_written_anew(certnet: Call, folder: Path, recorded: Recorded) -> None:
    """A network of a new γ that is better at an old one replaces the old one, with a new report."""
    split = load(Recipe(source="points.csv", raw=True, task="regression", target="y"))
    data = ("points.csv", "--raw", "--task", "regression", "--target", "y")
    assert certnet("train", *data, "--gammas", "1", "--out", "o").code == 0
    before = json.loads((folder / "o/gamma_1/report.json").read_text())
    table = certnet("train", *data, "--gammas", "1,0.5", "--resume", "o", "--json").json
    after = json.loads((folder / "o/gamma_1/report.json").read_text())
    assert recorded.gammas == [1.0, 0.5]
    assert after["objective"] < before["objective"]
    assert table["results"][0]["objective"] == after["objective"]
    for name in ("rank", "stages", "relaxation", "seconds"):
        assert after[name] == before[name]
    certificate = read_certificate(folder / "o/gamma_1/optimality.cert")
    kinds = {"loss": "squared", "hidden_bias": "free", "output_bias": "free"}
    program = TrainingProgram(split.X, split.Y, 1.0, **kinds)
    assert after["objective"] == pytest.approx(program.objective(certificate.U, certificate.V), rel=1e-9)
    assert check(certificate).verdict is Verdict.PROVED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "positive numbers"),
        (",", "positive numbers"),
        ("1,,2", "positive numbers"),
        ("1,nan", "'nan'"),
        ("1,-0.1", "'-0.1'"),
        ("1,inf", "'inf'"),
        ("0,3", "'0'"),
        ("one", "'one'"),
        ("0.1,1,1e-1", "0.1 twice"),
    ],
)
def test_gammas_that_make_no_sense(text: str, words: str, certnet: Call, folder: Path, recorded: Recorded) -> None:
    outcome = certnet("train", "iris", f"--gammas={text}")
    assert outcome.code == 2
    assert words in one_sentence(outcome)
    assert recorded.calls == []
    assert files(folder) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["iris", "--gamma", "0.1"], "exclude each other"),
        (["--resume", "o"], "needs DATA"),
        (["iris", "--resume", "o", "--out", "p"], "different folders"),
        (["iris", "--solver", "nonsense"], "no solver"),
        (["iris", "--tolerance", "-1"], "tolerance"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], words: str, certnet: Call, folder: Path, recorded: Recorded
) -> None:
    outcome = certnet("train", *options, "--gammas", "1,0.1")
    assert outcome.code == 2
    assert words in one_sentence(outcome)
    assert recorded.calls == []
    assert files(folder) == []


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_made_is_found_before_the_work(certnet: Call, folder: Path) -> None:
    (folder / "o").mkdir()
    (folder / "o/gamma_0.1").write_text("in the way")
    outcome = certnet("train", "iris", "--gammas", "1,0.1", "--out", "o")
    assert outcome.code == 2
    assert "gamma_0.1" in one_sentence(outcome)
    assert files(folder / "o") == ["gamma_0.1"]


def test_names_of_folders_are_short_and_never_collide() -> None:
    gammas = (1.0, 0.3, 1e-10, 0.1, 0.1 + 2e-17, np.nextafter(0.1, 1.0), 1.0000001, 30.0)
    names = [folder_name(float(gamma)) for gamma in gammas]
    assert names[:4] == ["gamma_1", "gamma_0.3", "gamma_1e-10", "gamma_0.1"]
    assert len(set(names)) == len(set(gammas))
    assert positive_numbers("1, 0.3,1e-2", "--gammas", "1,0.3") == (1.0, 0.3, 0.01)
    with pytest.raises(InputError):
        positive_numbers("1,1.0", "--gammas", "1,0.3")


@pytest.mark.usefixtures("improving")
def test_a_true_path(certnet: Call, folder: Path) -> None:
    """With the true job: certificates are checked by the command line, and the path is consistent."""
    rng = np.random.default_rng(1)
    np.savez("r.npz", X=rng.standard_normal((6, 1)), Y=rng.standard_normal((6, 1)))
    outcome = certnet("train", "r.npz", "--no-split", "--gammas", "0.1,1", "--out", "o", "--json", "--time-limit", "60")
    assert outcome.code == 0
    small, large = outcome.json["results"]
    assert small["lower_bound"] <= small["objective"] <= large["objective"]
    checked = certnet("check", *(f"o/gamma_{name}/optimality.cert" for name in ("0.1", "1")), "--data", "r.npz")
    assert checked.code == 0


@pytest.mark.parametrize("there", ["absent", "empty", "single"])
def test_a_folder_to_resume_that_holds_no_path_is_an_error(
    there: str, certnet: Call, folder: Path, recorded: Recorded
) -> None:
    if there != "absent":
        (folder / there).mkdir()
    if there == "single":
        (folder / there / "report.json").write_text("{}")
    before = files(folder)
    outcome = certnet("train", "iris", "--gammas", "1,0.1", "--resume", there)
    assert outcome.code == 2
    assert f"There is no path in {there}" in one_sentence(outcome)
    assert recorded.calls == []
    assert files(folder) == before


@pytest.mark.usefixtures("quick", "points")
def test_one_folder_that_cannot_be_written_loses_nothing(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, certificate: Certificate) -> None:
        if "gamma_0.1" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_certificate(path, certificate)

    (folder / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "temporary"))
    monkeypatch.setattr("certnet.cli.training.write_certificate", full)
    outcome = certnet("train", "points.csv", "--gammas", "1,0.1", "--out", "o", "--json", "--quiet")
    assert outcome.code == 0
    first, second = outcome.json["results"]
    assert first["folder"] == "o/gamma_1"
    assert "temporary" in Path(second["folder"]).parts
    assert "No space left on device" in outcome.json["notes"][-1]
    assert len(list((folder / "temporary").iterdir())) == 1
    for row in (first, second):
        proof = check(read_certificate(Path(row["folder"]) / "optimality.cert"))
        assert (proof.verdict, proof.objective) == (Verdict.PROVED, row["objective"])
    assert strict((folder / "o/path.json").read_text()) == outcome.json


@pytest.mark.usefixtures("points")
def test_no_old_table_stands_beside_new_results(
    certnet: Call, folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert certnet("train", "points.csv", "--gammas", "1,0.1", "--out", "o").code == 0

    def train(program: TrainingProgram, **options: Any) -> TrainingResult:
        if program.gamma < 1:
            raise RuntimeError
        return quick_train(program, **options)

    monkeypatch.setattr("certnet.jobs.train.train", train)
    assert certnet("train", "points.csv", "--gammas", "1,0.1", "--out", "o", "--seed", "1").code == 70
    assert not (folder / "o/path.json").exists()
    assert (folder / "o/gamma_1/report.json").exists()
