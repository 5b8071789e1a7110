"""``certnet train``: what it writes, what it says, and how it ends."""

import errno
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from certificates import Certificate, Verdict, check, read_certificate, write_certificate
from certnet.cli.training import STOPPED
from certnet.io import Recipe, load, read_source
from certnet.io.network import TwoLayerNetwork
from certnet.io.output import output_folder
from certnet.jobs.train import TrainingResult
from certnet.search.price import SearchSummary
from certnet.solvers import SolverResult, SolveStatus
from formulations.network import ReluNetwork
from tests.certificates.altering import replace
from tests.cli.support import Call, files, one_sentence, quick_choice, quick_train, strict

PAPER = ["--loss", "squared", "--no-bias", "--gamma", "0.1"]
RESULTS = ["network.npz", "optimality.cert", "report.json"]


def patched(change: Callable[[TrainingResult], TrainingResult]) -> Callable[..., TrainingResult]:
    def train(*arguments: Any, **options: Any) -> TrainingResult:
        return change(quick_train(*arguments, **options))

    return train


@pytest.mark.usefixtures("quick")
def test_three_files_that_agree_with_each_other(certnet: Call, folder: Path) -> None:
    outcome = certnet("train", "iris", "--out", "out/iris", "--hidden-bias", "penalised", "--json")
    assert outcome.code == 0
    assert files(folder / "out") == ["iris", *(f"iris/{name}" for name in RESULTS)]
    report = outcome.json
    assert strict((folder / "out/iris/report.json").read_text()) == report
    assert (report["schema"], report["command"], report["verdict"]) == ("certnet/1", "train", "PROVED")
    assert report["gap"] == (report["objective"] - report["lower_bound"]) / report["objective"]
    assert 0 < report["lower_bound"] <= report["objective"]
    certificate = read_certificate(folder / "out/iris/optimality.cert")
    assert check(certificate).verdict is Verdict.PROVED
    assert certificate.lower_bound <= certificate.objective
    assert report["data"]["fingerprint"] == certificate.data_fingerprint
    assert (report["data"]["n"], report["data"]["d"], report["data"]["c"]) == certificate.shape == (120, 5, 3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("options", [[], ["--raw"], ["--hidden-bias", "penalised"], ["--no-split"], PAPER])
@pytest.mark.parametrize("source", ["wine", "breast_cancer"])
def test_the_saved_network_takes_raw_features(certnet: Call, folder: Path, source: str, options: list[str]) -> None:
    """Its scores and classes are those of the report, and its loss and decay, by other formulas, the objective."""
    report = certnet("train", source, "--json", "--out", "o", *options).json
    network = TwoLayerNetwork.load(folder / "o" / "network.npz")
    raw = load(Recipe(source=source, raw=True, split="--no-split" not in options, refit=options != PAPER))
    assert raw.classes is not None
    for name, X, Y in raw.parts():
        if X is None or Y is None:
            assert report["accuracy"][name] is None
            continue
        truth = np.array(raw.classes)[Y.argmax(axis=1)]
        assert report["accuracy"][name] == float(np.mean(network.predict_class(X) == truth))
    own, scores = network.network, network.predict(raw.X)
    weights = (own.generators if "penalised" in options else own.hidden, own.output)
    decay = 0.05 * sum(float(np.sum(a**2)) for a in weights)
    if options == PAPER:
        loss = 0.5 * float(np.sum((scores - raw.Y) ** 2))
        assert not own.output_bias.any()
        assert not own.hidden_bias.any()
    else:
        scores = np.hstack([np.zeros_like(scores), scores]) if source == "breast_cancer" else scores
        loss = -float(np.sum(log_softmax(scores, axis=1) * raw.Y))
        assert own.output_bias.any()
        assert report["log_loss"]["train"] == pytest.approx(loss / len(scores), rel=1e-9)
    assert loss + decay == pytest.approx(report["objective"], rel=1e-9)


@pytest.mark.usefixtures("quick")
def test_plain_output_is_a_summary_and_three_paths(certnet: Call, folder: Path) -> None:
    outcome = certnet("train", "spiral", "--raw")
    meaning, summary, *paths = outcome.out.splitlines()
    assert "better" in meaning
    assert summary.startswith("PROVED")
    assert paths == [f"runs/spiral/{name}" for name in RESULTS]
    assert all((folder / path).is_file() for path in paths)
    for wanted in ("certified lower bound", "relative gap", "rank", "accuracy", "time: rounding"):
        assert wanted in outcome.err
    assert "\x1b" not in outcome.err + outcome.out


def test_times_add_up_and_what_is_not_there_has_no_row(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def times(text: str) -> dict[str, float]:
        found = re.findall(r"time: ([^│]*?) *│ *([0-9.]+) s", text)
        return {name: float(seconds) for name, seconds in found}

    monkeypatch.setattr("certnet.jobs.train.train", patched(lambda result: replace(result, stages={"rounding": 0.004})))
    shown = times(certnet("train", "spiral").err)
    total = shown.pop("total")
    assert {"rounding", "reading, writing, starting"} <= set(shown)
    assert sum(shown.values()) == pytest.approx(total, abs=1e-9)
    search = SearchSummary("subdivision", True, False, False, 32, 14, 1.0, 0, 0.1)
    monkeypatch.setattr("certnet.jobs.train.train", patched(lambda result: replace(result, rank=None, search=search)))
    text = certnet("train", "spiral").err
    assert "32 cones tested, 14 in the proof, complete" in text
    assert "rank" not in text
    signs = replace(search, kind="signs")
    monkeypatch.setattr("certnet.jobs.train.train", patched(lambda result: replace(result, search=signs)))
    assert "32 relaxations solved, 14 leaves, complete" in certnet("train", "spiral").err


@pytest.mark.usefixtures("quick")
def test_quiet_leaves_stderr_empty(certnet: Call) -> None:
    assert certnet("train", "spiral", "--quiet").err == ""


@pytest.mark.usefixtures("quick")
def test_spreadsheet_export_and_its_certificate(certnet: Call, points: Path) -> None:
    assert certnet("train", points, "--target", "colour", "--seed", "3").code == 0
    outcome = certnet("check", "runs/points/optimality.cert", "--data", points, "--json")
    assert outcome.code == 0
    assert outcome.json["data"]["compared_with"] == str(points)


@pytest.mark.usefixtures("quick")
def test_regression_reports_errors_instead_of_accuracy(certnet: Call, folder: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    np.savez("r.npz", X=X, Y=X @ np.ones((3, 2)))
    report = certnet("train", "r.npz", "--json", "--no-split").json
    assert report["accuracy"] == {"train": None, "validation": None, "test": None}
    network = TwoLayerNetwork.load(folder / "runs/r/network.npz")
    error = float(np.mean((network.predict(X) - X @ np.ones((3, 2))) ** 2))
    assert report["mean_squared_error"]["train"] == pytest.approx(error, rel=1e-9)
    assert report["r2"]["train"] == pytest.approx(1 - error / np.var(X @ np.ones(3)), rel=1e-9)
    assert "R²" in certnet("train", "r.npz").err


@pytest.mark.usefixtures("quick")
def test_equal_seeds_give_equal_certificates(certnet: Call, folder: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        certnet("train", "iris", "--seed", seed, "--out", name)
    first, second, other = ((folder / name / "optimality.cert").read_bytes() for name in "abc")
    assert first == second
    assert first != other


@pytest.mark.usefixtures("quick")
def test_a_certificate_names_no_folder_of_this_machine(certnet: Call, points: Path) -> None:
    certnet("train", points.resolve(), "--out", "o")
    assert read_certificate("o/optimality.cert").provenance["data"]["source"] == "points.csv"


@pytest.mark.usefixtures("quick")
def test_the_remark_on_a_small_class_is_shown(certnet: Call, folder: Path) -> None:
    (folder / "t.csv").write_text(
        "x,y,k\n" + "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(10)) + "9,1,rare\n"
    )
    outcome = certnet("train", "t.csv")
    assert outcome.code == 0
    assert "'rare' has only one row" in outcome.err


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PROVED, 0), (Verdict.REFUTED, 1), (Verdict.UNKNOWN, 3)])
def test_exit_code_follows_the_verdict(
    certnet: Call, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, code: int
) -> None:
    monkeypatch.setattr(
        "certnet.jobs.train.train",
        patched(lambda result: replace(result, report=replace(result.report, verdict=verdict))),
    )
    outcome = certnet("train", "spiral", "--json")
    assert outcome.code == code
    assert outcome.json["verdict"] == verdict.value


def test_figures_that_do_not_exist_are_null(certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nan, inf = float("nan"), float("inf")

    def without(result: TrainingResult) -> TrainingResult:
        report = replace(result.report, lower_bound=-inf, objective=inf, verdict=Verdict.UNKNOWN)
        return replace(result, report=report, rank=None, stages={"rounding": nan})

    monkeypatch.setattr("certnet.jobs.train.train", patched(without))
    outcome = certnet("train", "spiral", "--json")
    report = outcome.json
    assert [report[key] for key in ("objective", "lower_bound", "gap", "rank")] == [None] * 4
    assert strict((folder / "runs/spiral/report.json").read_text()) == report
    assert outcome.code == 3


def test_a_choice_that_took_all_the_time_leaves_enough_for_a_result(
    certnet: Call, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def train(*arguments: Any, time_limit: float, **options: Any) -> TrainingResult:
        limits.append(time_limit)
        return quick_train(*arguments, time_limit=time_limit, **options)

    monkeypatch.setattr("certnet.jobs.train.train", train)
    monkeypatch.setattr("certnet.jobs.selection.select_gamma", lambda *_, **__: replace(quick_choice(), seconds=9.0))
    assert certnet("train", str(points), "--time-limit", "5").code in (0, 3)
    assert 0 < limits[0] < 5


def test_after_ctrl_c_the_best_so_far_is_written(certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", patched(lambda result: replace(result, interrupted=True)))
    outcome = certnet("train", "spiral", "--json", "--quiet")
    assert outcome.code == 130
    assert outcome.json["interrupted"] is True
    assert files(folder / "runs/spiral") == RESULTS
    assert "Interrupted" in one_sentence(outcome)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (RuntimeError("boom"), 70, "RuntimeError: boom; run again with --debug"),
        (MemoryError(), 70, "MemoryError"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 2, "No space left"),
    ],
)
def test_a_job_that_fails_leaves_nothing_behind(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fail(*arguments: Any, **options: Any) -> TrainingResult:
        raise error

    monkeypatch.setattr("certnet.jobs.train.train", fail)
    outcome = certnet("train", "spiral", "--json")
    assert outcome.code == code
    assert words in one_sentence(outcome)
    assert outcome.json["error"]["exit_code"] == code
    assert files(folder) == []


def test_debug_shows_the_traceback(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> TrainingResult:
        raise RuntimeError("boom")

    monkeypatch.setattr("certnet.jobs.train.train", fail)
    outcome = certnet("train", "spiral", "--debug")
    assert outcome.code == 70
    assert "Traceback" in outcome.err


def no_work(*arguments: Any, **options: Any) -> TrainingResult:
    raise AssertionError("the work began before the options were checked")


BAD_OPTIONS = [
    (["--gamma", "0"], "gamma"),
    (["--gamma", "-1"], "gamma"),
    (["--gamma", "nan"], "gamma"),
    (["--gamma", "inf"], "gamma"),
    (["--gamma", "much"], "gamma"),
    (["--time-limit", "-1"], "0 for no limit, not -1"),
    (["--time-limit", "nan"], "0 for no limit, not nan"),
    (["--time-limit", "inf"], "0 for no limit, not inf"),
    (["--gamma", "0,1"], "--gamma must be a number, not '0,1'; write 0.1 with a decimal point."),
    (["--seed=x"], "--seed must be a whole number, not 'x'."),
    (["--task", "clustering"], "--task must be one of classification, regression, not 'clustering'."),
    (["--out", ""], "--out names no folder"),
    (["--out", " "], "--out names no folder"),
    (["--tolerance", "-1e-3"], "tolerance"),
    (["--seed", "-1"], "seed"),
    (["--seed", "1.5"], "seed"),
    (["--solver", "oracle"], "oracle"),
    (["--task", "sorting"], "task"),
    (["--target", "colour"], "--target"),
    (["--frobnicate"], "frobnicate"),
    (["another"], "another"),
]


@pytest.mark.parametrize(("options", "word"), BAD_OPTIONS)
def test_bad_options_end_before_the_work(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], word: str
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    outcome = certnet("train", "spiral", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert word in one_sentence(outcome)
    report = certnet("train", "spiral", "--json", *options).json
    assert report["schema"] == "certnet/1"
    assert report["command"] == "train"
    assert [report[key] for key in ("verdict", "objective", "lower_bound", "gap")] == [None] * 4
    assert f"certnet: {report['reason']}\n" == outcome.err
    assert files(folder) == []


@pytest.mark.parametrize("arguments", [[], ["train"], ["cook"], ["check"], ["--nonsense"]])
def test_bad_command_lines(certnet: Call, arguments: list[str]) -> None:
    outcome = certnet(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    one_sentence(outcome)


BAD_DATA: dict[str, bytes] = {
    "empty.csv": b"",
    "nan.csv": b"a,k\nnan,x\n,y\n",
    "inf.csv": b"a,k\ninf,x\n1,y\n",
    "one-class.csv": b"a,k\n1,x\n2,x\n",
    "text.csv": b"a,k\nlots,x\n2,y\n",
    "ragged.csv": b"a,k\n1,x\n2,y,z\n",
    "empty.npz": b"",
    "truncated.npz": b"PK\x03\x04" + bytes(30),
}


@pytest.mark.parametrize("name", [*BAD_DATA, "absent.csv", "shapes.npz"])
def test_bad_data_end_before_the_work(certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    if name == "shapes.npz":
        np.savez(name, X=np.ones((3, 2)), Y=np.arange(4) % 2)
    elif name in BAD_DATA:
        (folder / name).write_bytes(BAD_DATA[name])
    before = files(folder)
    outcome = certnet("train", name)
    assert (outcome.code, outcome.out) == (2, "")
    assert name in one_sentence(outcome)
    assert files(folder) == before


@pytest.mark.parametrize("out", ["file", "file/below", "loop"])
def test_unusable_output_folder_is_found_before_the_work(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    (folder / "file").write_text("mine")
    (folder / "loop").symlink_to("loop")
    outcome = certnet("train", "spiral", "--out", out)
    assert outcome.code == 2
    assert "--out" in one_sentence(outcome)
    assert (folder / "file").read_text() == "mine"


@pytest.mark.parametrize("name", RESULTS)
def test_a_folder_in_the_place_of_a_result_is_found_before_the_work(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    (folder / "o" / name).mkdir(parents=True)
    outcome = certnet("train", "spiral", "--out", "o")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"o/{name} is a folder" in one_sentence(outcome)
    assert files(folder) == ["o", f"o/{name}"]


@pytest.mark.parametrize("status", [SolveStatus.TIME_LIMIT, SolveStatus.CONVERGED])
def test_only_a_relaxation_cut_short_is_remarked_on(
    certnet: Call, monkeypatch: pytest.MonkeyPatch, status: SolveStatus
) -> None:
    relaxation = SolverResult(None, None, 1.0, status, "", "test", "1", 5, 1.0)
    for resumable in (True, False):  # a job that reached its gap was not cut short, however its solver ended
        changes = {"relaxation": relaxation, "resumable": resumable}
        with monkeypatch.context() as patch:
            patch.setattr("certnet.jobs.train.train", patched(lambda result, to=changes: replace(result, **to)))
            outcome = certnet("train", "spiral", "--json", "--out", f"o{resumable:d}")
        cut_short = resumable and status is SolveStatus.TIME_LIMIT
        assert outcome.json["notes"] == [STOPPED] * cut_short
        assert (STOPPED in outcome.err) is cut_short


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("labels", [np.arange(12) % 2, np.arange(24.0).reshape(12, 2)])
def test_rows_far_from_the_training_rows_do_not_warn(certnet: Call, labels: np.ndarray) -> None:
    X = np.random.default_rng(0).normal(size=(12, 2))
    np.savez("far.npz", X=X * 1e-100, Y=labels, X_test=X * 1e100 / np.abs(X).max(), Y_test=labels)
    outcome = certnet("train", "far.npz", "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json.get("mean_squared_error", {"test": None})["test"] is None


def test_read_only_output_folder_is_found_before_the_work(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    # The superuser may write to folders that are marked read-only, so the refusal is staged.
    monkeypatch.setattr("certnet.io.output.tempfile.TemporaryFile", refuse)
    (folder / "old").mkdir()
    for out in ("old", "old/new", "new"):
        outcome = certnet("train", "spiral", "--out", out)
        assert (outcome.code, outcome.out) == (2, "")
        assert "Read-only file system" in one_sentence(outcome)
        assert files(folder) == ["old"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_disk_that_fills_up_loses_nothing_and_leaves_nothing_half_written(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, everywhere: bool
) -> None:
    if existing:
        certnet("train", "spiral")
    before = {name: (folder / name).read_bytes() for name in files(folder) if (folder / name).is_file()}
    (folder / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "temporary"))

    def full(path: Path, certificate: Certificate) -> None:
        if everywhere or "temporary" not in path.parts:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_certificate(path, certificate)

    monkeypatch.setattr("certnet.cli.training.write_certificate", full)
    outcome = certnet("train", "spiral", "--seed", "5", "--quiet", "--json")
    report = outcome.json
    assert (outcome.code, report["verdict"]) == (0, "PROVED")
    assert 0 < report["lower_bound"] <= report["objective"]
    assert "No space left on device" in one_sentence(outcome) in f"certnet: {report['notes'][-1]}\n"
    now = {name: (folder / name).read_bytes() for name in files(folder) if name.startswith("runs/spiral/")}
    assert now == before
    written = [Path(name) for name in report["files"].values()]
    assert [path.name for path in written] == ([] if everywhere else RESULTS)
    if written:
        assert strict(written[2].read_text()) == report
        assert check(read_certificate(written[1])).objective == report["objective"]
        assert f"the results are in {written[0].parent}." in outcome.err
    assert len(files(folder / "temporary")) == (0 if everywhere else 4)


def test_a_folder_that_is_deleted_loses_nothing(certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*arguments: Any, **options: Any) -> TrainingResult:
        shutil.rmtree(folder / "o")
        return quick_train(*arguments, **options)

    (folder / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "temporary"))
    monkeypatch.setattr("certnet.jobs.train.train", train)
    outcome = certnet("train", "spiral", "--out", "o", "--quiet")
    assert outcome.code == 0
    meaning, summary, *paths = outcome.out.splitlines()
    assert "better" in meaning
    assert summary.startswith("PROVED")
    assert [Path(path).name for path in paths if Path(path).is_file()] == RESULTS
    assert "No such file or directory" in one_sentence(outcome)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "spiral"],
        ["train", "spiral", "--gammas", "1,0.1"],
        ["optimality", "net.npz", "spiral", "--gamma", "1"],
        ["audit", "net.npz", "spiral", "--norm", "linf", "--radii", "0.1"],
    ],
)
def test_two_runs_into_one_folder_are_refused(
    certnet: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("certnet.jobs.train.train", no_work)
    classes = load(Recipe(source="spiral")).classes
    TwoLayerNetwork(ReluNetwork.of_program(np.ones((2, 1)), np.ones((3, 1))), classes=classes).save(folder / "net.npz")
    with output_folder(folder / "o", files=()):
        before = files(folder)
        outcome = certnet(*command, "--out", "o", "--quiet")
        assert outcome.code == 2
        assert "Another run is writing to o; wait for its end or choose another --out." in one_sentence(outcome)
        assert files(folder) == before


@pytest.mark.slow
def test_iris_end_to_end(certnet: Call) -> None:
    outcome = certnet("train", "iris", "--gamma", "0.1", "--time-limit", "12", "--json")
    assert outcome.code == 0
    assert outcome.json["lower_bound"] > 0
    checked = certnet("check", "runs/iris/optimality.cert", "--data", "iris", "--json")
    assert checked.code == 0
    assert checked.json["verdict"] == "PROVED"
    assert checked.json["lower_bound"] == outcome.json["lower_bound"]


def test_a_small_file_end_to_end(certnet: Call, points: Path) -> None:
    outcome = certnet("train", points, "--hidden-bias", "penalised", "--gamma", "0.3", "--json")
    assert outcome.code == 0
    report = outcome.json
    # Predicting the shares of the classes costs no decay.
    assert 0 < report["lower_bound"] <= report["objective"] < len(read_source(Recipe(source=str(points))).X) * np.log(2)
    assert report["relaxation"] is None
    checked = certnet("check", "runs/points/optimality.cert", "--data", points)
    assert checked.code == 0
    assert checked.out.splitlines()[1] == "verdict      PROVED"


def test_global_training_closes_the_gap(certnet: Call, folder: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(folder / "small.npz", X_train=random.standard_normal((8, 2)), Y_train=random.standard_normal((8, 1)))
    outcome = certnet(
        "train", "small.npz", "--raw", *PAPER, "--method", "global", "--gap", "1e-5", "--out", "o", "--json"
    )
    assert outcome.code == 0
    report = outcome.json
    assert report["verdict"] == "PROVED"
    assert report["gap"] <= 1e-5
    assert report["relaxation"] is None
    assert report["branching"]["complete"] is True
    assert report["branching"]["leaves"] > 1
    assert certnet("check", "o/optimality.cert").code == 0


@pytest.mark.parametrize(
    "options",
    [["--gap", "0"], ["--gap", "2"], ["--nodes", "0"], ["--gap", "1e-3", "--workers", "0"], ["--method", "magic"]],
)
def test_branching_options_that_make_no_sense(certnet: Call, folder: Path, options: list[str]) -> None:
    outcome = certnet("train", "iris", *options)
    assert outcome.code == 2
    assert files(folder) == []


def test_nodes_without_a_gap_to_close(certnet: Call, folder: Path) -> None:
    assert "--gap" in one_sentence(certnet("train", "wine", "--nodes", "3", "--time-limit", "0"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("late", [0.0, 9.0])
def test_time_that_went_into_starting_is_said(certnet: Call, monkeypatch: pytest.MonkeyPatch, late: float) -> None:
    """Else a weak bound after a short run would have no reason."""
    began = time.perf_counter() - late
    monkeypatch.setattr("certnet.cli.training.began", lambda: began)
    notes = certnet("train", "iris", "--gamma", "1", "--time-limit", "10", "--json").json["notes"]
    assert any("of the 10 seconds" in note for note in notes) is (late > 0)
