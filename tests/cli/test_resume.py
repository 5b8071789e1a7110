"""``certnet train --resume``: it finds data and options again, refuses what contradicts them, and goes on."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate, write_certificate
from certnet.cli import main, resuming
from certnet.cli.training import STOPPED, keep_choice
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs import train as job
from certnet.jobs.checkpoint import read_checkpoint, write_checkpoint
from certnet.jobs.train import Event, TrainingResult
from certnet.solvers import SolverResult, SolveStatus, solve
from formulations import TrainingProgram
from tests.certificates.altering import replace
from tests.cli.support import Call, files, one_sentence, quick_train, strict

RESULTS = ["network.npz", "optimality.cert", "report.json"]
BIAS = ("--loss", "squared", "--hidden-bias", "penalised", "--output-bias", "none")
PAPER = ("--loss", "squared", "--no-bias", "--gamma", "0.1")
CUT = ["--time-limit", "0", "--solver", "admm", "--tolerance", "1e-4", "--gamma", "0.3"]
original_train = job.train


def pressing(stage: str, times: int = 1) -> Callable[..., TrainingResult]:
    """The job, with Ctrl-C pressed when a stage shows its first figures."""

    def train(*arguments: Any, **options: Any) -> TrainingResult:
        count = 0

        def progress(event: Event) -> None:
            nonlocal count
            if event.stage.startswith((stage, "finishing")) and (stage != "relaxation" or event.iteration or count):
                count += 1
                if count <= times:
                    raise KeyboardInterrupt

        return original_train(*arguments, **{**options, "progress": progress})

    return train


def write_points(folder: Path) -> Path:
    """A small CSV file with decimal commas, and too many features for cones, so that the relaxation runs."""
    names = [*"xyzuvw", "colour"]
    values = np.random.default_rng(1).integers(-9, 10, size=(15, 6))
    rows = [";".join([*(f"{value},5" for value in row), "red" if row[0] > 0 else "blue"]) for row in values]
    path = folder / "points.csv"
    path.write_text("\n".join([";".join(names), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def points(folder: Path) -> Path:
    return write_points(folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a job was cut short in its relaxation, once for all tests here."""
    home = tmp_path_factory.mktemp("stopped")
    write_points(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr("certnet.jobs.train.train", pressing("relaxation"))
        assert main(["train", "points.csv", "--out", "o", *BIAS, "--seed", "2", *CUT]) == 130
    return home


@pytest.fixture
def cut(certnet: Call, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that this job left. The checkpoint names its place, so tests work there, and it is put back."""
    shutil.copytree(stopped, tmp_path / "kept")
    monkeypatch.chdir(stopped)
    yield Path("o")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(stopped)
    shutil.copytree(tmp_path / "kept", stopped)


def test_what_is_left_says_how_to_go_on(cut: Path) -> None:
    report = strict((cut / "report.json").read_text())
    assert report["interrupted"] is True
    assert any("checkpoint.npz" in note and "--resume o" in note for note in report["notes"])
    assert report["relaxation"]["choice"] is None  # the solver was named
    assert files(cut) == sorted([*RESULTS, "checkpoint.npz"])


@pytest.mark.slow
def test_it_ends_where_an_uninterrupted_job_ends(certnet: Call, cut: Path) -> None:
    before = read_certificate(cut / "optimality.cert")
    outcome = certnet("train", "--resume", "o", "--json")
    assert outcome.code == 0
    resumed = outcome.json
    assert files(cut) == RESULTS
    whole = certnet("train", "points.csv", "--out", "w", *BIAS, "--seed", "2", *CUT, "--json").json
    for key in ("gamma", "hidden_bias", "data"):
        assert resumed[key] == whole[key]
    for key in ("solver", "status"):
        assert resumed["relaxation"][key] == whole["relaxation"][key]
    assert resumed["lower_bound"] == pytest.approx(whole["lower_bound"], rel=1e-3)
    assert resumed["earlier_seconds"] > 0
    assert whole["earlier_seconds"] is None
    after = read_certificate(cut / "optimality.cert")
    assert check(after).verdict is Verdict.PROVED
    assert after.lower_bound >= before.lower_bound * (1 - 1e-7)
    # Objectives are rounded up, and of two networks that are equal but for rounding either may stay.
    assert after.objective <= before.objective * (1 + 1e-12)
    assert after.provenance == read_certificate("w/optimality.cert").provenance


def test_an_earlier_certificate_that_takes_long_to_check_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    program = TrainingProgram(random.standard_normal((8, 2)), random.standard_normal((8, 1)), 0.3)
    good, path, kept = job.train(program), tmp_path / "optimality.cert", tmp_path / "earlier.cert"
    weak = replace(good, report=replace(good.report, lower_bound=0.0))
    worse = job.train(program, solver="admm", tolerance=0.3)
    assert 0 < worse.report.lower_bound < good.report.lower_bound
    write_certificate(path, good.certificate)
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "LAST_PROOF_SECONDS", 1e-9)
        found = resuming.with_earlier(weak, path)
        assert found.report.lower_bound == weak.report.lower_bound  # what is not checked is no bound
        assert "earlier.cert" in found.notes[-1]
        # Another run, of a certificate with a worse claim that takes as long, does not displace it.
        write_certificate(path, worse.certificate)
        assert resuming.with_earlier(weak, path).report.lower_bound == weak.report.lower_bound
        assert read_certificate(kept).lower_bound == good.report.lower_bound
    # With time for the check it is the best again.
    assert resuming.with_earlier(weak, path).report.lower_bound == good.report.lower_bound
    # And it goes when there is as good a one.
    assert resuming.with_earlier(good, path) is good
    assert not kept.exists()


@pytest.mark.usefixtures("quick")
def test_no_folder_of_this_machine_leaves_the_checkpoint(certnet: Call, cut: Path) -> None:
    here = str(Path.cwd())
    assert here in str(dict(read_checkpoint(cut / "checkpoint.npz").about))
    outcome = certnet("train", "--resume", "o", "--json")
    assert here not in outcome.out + outcome.err
    assert all(here.encode() not in (cut / name).read_bytes() for name in RESULTS)
    certificate = read_certificate(cut / "optimality.cert")
    assert certificate.provenance["data"]["source"] == "points.csv"
    assert check(certificate).verdict is Verdict.PROVED
    assert outcome.code == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gamma", [0.3, 0.5])
def test_the_choice_of_gamma_stays_known_where_it_is_that_of_the_job(certnet: Call, cut: Path, gamma: float) -> None:
    report = strict((cut / "report.json").read_text())
    report["selection"] = {"gamma": gamma, "gammas": [gamma, 1.0], "losses": [0.5, 0.75]}
    report["accuracy"]["validation"] = 0.625
    (cut / "report.json").write_text(json.dumps(report))
    # Of networks that the choice trained on other folds there are no rows to judge anew.
    known = {"gamma": 0.3, "accuracy": {"validation": None}, "data": {"rows": {"validation": None}}}
    keep_choice(known, cut / "report.json")
    assert known["accuracy"] == {"validation": 0.625 if gamma == 0.3 else None}
    resumed = certnet("train", "--resume", "o", "--json", "--quiet").json
    assert resumed["selection"] == (report["selection"] if gamma == 0.3 else None)
    # These rows were set aside, so their score is the network's own.
    assert resumed["accuracy"]["validation"] != 0.625


@pytest.mark.usefixtures("quick")
def test_it_works_from_another_folder(certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert certnet("train", "--resume", "../o", "--quiet").code == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_a_part_without_time_keeps_the_bound(
    certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Where nothing of the checkpoint was proved again, the certificate of the part before counts, if it holds."""
    before = read_certificate(cut / "optimality.cert")
    if damaged:
        write_certificate(cut / "optimality.cert", replace(before, W=1.01 * before.W))
    monkeypatch.setattr(_stages, "take_known", lambda job: None)
    found: list[TrainingResult] = []

    def train(*arguments: Any, **options: Any) -> TrainingResult:
        found.append(pressing("first network")(*arguments, **options))
        return found[0]

    monkeypatch.setattr("certnet.jobs.train.train", train)
    outcome = certnet("train", "--resume", "o", "--json")
    after = read_certificate(cut / "optimality.cert")
    assert outcome.code == 130
    assert found[0].report.lower_bound < before.lower_bound
    assert after.lower_bound == (found[0].report.lower_bound if damaged else before.lower_bound)
    assert outcome.json["lower_bound"] == after.lower_bound
    assert after.objective <= before.objective * (1 + 1e-12)
    assert check(after).verdict is Verdict.PROVED


@pytest.mark.slow
def test_it_can_be_cut_short_again(certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_checkpoint(cut / "checkpoint.npz")
    with monkeypatch.context() as patch:
        patch.setattr("certnet.jobs.train.train", pressing("first bound"))
        assert certnet("train", "--resume", "o").code == 130
    second = read_checkpoint(cut / "checkpoint.npz")
    assert second.seconds > first.seconds
    assert second.about == first.about
    assert certnet("train", "--resume", "o").code == 0


def test_a_second_ctrl_c_keeps_the_checkpoint(certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (cut / name).read_bytes() for name in files(cut)}
    with monkeypatch.context() as patch:
        patch.setattr("certnet.jobs.train.train", pressing("first bound", times=2))
        outcome = certnet("train", "--resume", "o")
    assert outcome.code == 130
    assert {name: (cut / name).read_bytes() for name in RESULTS} == {name: before[name] for name in RESULTS}
    monkeypatch.setattr("certnet.jobs.train.train", quick_train)
    assert certnet("train", "--resume", "o", "--quiet").code == 0


def test_only_some_options_may_change(certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def train(*arguments: Any, **options: Any) -> TrainingResult:
        seen.update(options)
        return quick_train(*arguments, **options)

    monkeypatch.setattr("certnet.jobs.train.train", train)
    outcome = certnet("train", "--resume", "o", "--time-limit", "77", "--quiet", "--json", "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    assert 0 < seen["time_limit"] <= 77
    assert (seen["solver"], seen["tolerance"], seen["random_state"]) == ("admm", 1e-4, 2)


@pytest.mark.usefixtures("quick")
def test_options_may_be_repeated(certnet: Call, cut: Path) -> None:
    assert certnet("train", "points.csv", "--resume", "o", "--out", "o", *BIAS, "--seed", "2", *CUT).code == 0


CONFLICTS = [
    (["iris"], "DATA"),
    (["other.csv"], "DATA"),
    (["--gamma", "0.2"], "--gamma was given, but the checkpoint was made with 0.3"),
    (["--raw"], "--raw was given, but the checkpoint was made without it"),
    (["--no-split"], "--no-split was given, but the checkpoint was made without it"),
    (["--seed", "3"], "--seed"),
    (["--target", "x"], "--target was given, but the checkpoint was made with the default"),
    (["--task", "regression"], "--task"),
    (["--solver", "auto"], "--solver"),
    (["--tolerance", "1e-3"], "--tolerance"),
    (["--out", "p"], "--out"),
    (["--time-limit", "-3"], "0 for no limit, not -3"),
]


def no_work(*arguments: Any, **options: Any) -> TrainingResult:
    raise AssertionError("the work began before the options were checked")


@pytest.mark.parametrize(("options", "words"), CONFLICTS)
def test_what_contradicts_the_checkpoint_is_refused(
    certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    before = {name: (cut / name).read_bytes() for name in files(cut)}
    outcome = certnet("train", "--resume", "o", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in one_sentence(outcome)
    assert {name: (cut / name).read_bytes() for name in files(cut)} == before


def test_changed_data_are_refused(certnet: Call, cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    text = Path("points.csv").read_text(encoding="utf-8")
    Path("points.csv").write_text(text.replace(",5;", ",625;"), encoding="utf-8")
    outcome = certnet("train", "--resume", "o")
    assert outcome.code == 2
    assert "no longer holds the data of the checkpoint" in one_sentence(outcome)
    Path("points.csv").unlink()
    outcome = certnet("train", "--resume", "o")
    assert outcome.code == 2
    assert "points.csv" in one_sentence(outcome)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("folder_name", ["absent", "empty", "file"])
def test_a_folder_without_checkpoint_is_named(certnet: Call, folder: Path, folder_name: str) -> None:
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    outcome = certnet("train", "--resume", folder_name)
    assert outcome.code == 2
    assert f"There is no checkpoint {folder_name}/checkpoint.npz" in one_sentence(outcome)


def test_a_broken_checkpoint_is_one_sentence(certnet: Call, cut: Path) -> None:
    path = cut / "checkpoint.npz"
    sound = read_checkpoint(path)
    for change in ({}, {"recipe": 3}, {**sound.about, "gamma": "1"}, {**sound.about, "time_limit": -1.0}):
        write_checkpoint(path, replace(sound, about=change))
        outcome = certnet("train", "--resume", "o")
        assert outcome.code == 2
        assert "does not say how it was made" in one_sentence(outcome)
    path.write_bytes(path.read_bytes()[:100])
    outcome = certnet("train", "--resume", "o")
    assert outcome.code == 2
    assert "is no checkpoint of this version" in one_sentence(outcome)


def test_data_or_resume_must_be_given(certnet: Call) -> None:
    assert "certnet train iris" in one_sentence(certnet("train"))


@pytest.mark.usefixtures("quick")
def test_a_job_that_ends_removes_an_old_checkpoint_and_the_certificate_beside_it(certnet: Call, cut: Path) -> None:
    shutil.copy(cut / "optimality.cert", cut / resuming.EARLIER)
    assert certnet("train", "points.csv", "--out", "o").code == 0
    assert files(cut) == RESULTS


@pytest.mark.slow
def test_an_interruption_before_the_relaxation_is_resumed_too(
    certnet: Call, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_stages, "fit", interrupted_once(_stages.fit))
        outcome = certnet("train", points, *PAPER, "--json", "--out", "o")
    assert outcome.code == 130
    assert outcome.json["verdict"] == "PROVED"
    outcome = certnet("train", "--resume", "o", "--json")
    relaxation = outcome.json["relaxation"]
    assert relaxation["status"] == "converged"
    assert relaxation["choice"] in outcome.err


def interrupted_once(fit: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: replace(fit(*arguments, **options), interrupted=True)


def test_the_time_limit_is_remarked_on_with_the_way_to_go_on(
    certnet: Call, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = SolveStatus.TIME_LIMIT

    def rough(*given: Any, **options: Any) -> SolverResult:
        return replace(solve(*given, **{**options, "tolerance": 0.01}), status=late)

    monkeypatch.setattr(relaxing, "solve", rough)
    outcome = certnet("train", points, *PAPER, "--json", "--out", "enough", "--gap", "0.9")
    assert outcome.json["notes"] == []
    asked = ("--gap", "1e-9", "--nodes", "1")
    outcome = certnet("train", points, *PAPER, *asked, "--json", "--out", "a folder")
    assert outcome.code == 0
    assert outcome.json["relaxation"]["status"] == SolveStatus.TIME_LIMIT.name.lower()
    assert outcome.json["relaxation"]["choice"].startswith("auto chose interior-point, because there are ")
    assert outcome.json["relaxation"]["choice"] in outcome.err
    *notes, goes_on = outcome.json["notes"]
    assert STOPPED in notes
    assert "certnet train --resume 'a folder' --time-limit SECONDS" in goes_on


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"devices": [], "torch": None, "torch_cuda": None}, "needs an NVIDIA GPU"),
        ({"devices": ["A, 1, 2"], "torch": None, "torch_cuda": None}, "pip install certnet[gpu]"),
        ({"devices": ["A, 1, 2"], "torch": "2.2", "torch_cuda": False}, "cannot use this machine's GPU"),
    ],
)
def test_a_device_that_is_not_there_is_named_before_the_work(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    monkeypatch.setattr("certnet.solvers.arrays.gpu", lambda: found)
    outcome = certnet("train", "spiral", "--device", "cuda")
    assert outcome.code == 2
    assert words in one_sentence(outcome)
    assert files(folder) == []
    assert "--device must be one of cpu, cuda" in one_sentence(certnet("train", "spiral", "--device", "gpu"))
