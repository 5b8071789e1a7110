"""``certnet audit`` and ``certnet.audit``: certified ≤ clean, certified ≤ attacked, and nothing is verified twice."""

import csv
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate
from certnet import audit as certnet_audit
from certnet.jobs import audit as _audit
from certnet.jobs import audit_input
from certnet.jobs import radius as _radius
from formulations import InputError
from formulations.network import ReluNetwork
from tests.cli.support import Call, one_sentence
from tests.verification.problems import random_network

NETWORK = random_network(6, width=8)
ROWS, WRONG_ROW = 8, 5
RADII = "0.01,0.1,0.3"
AUDIT = ("audit", "net.npz", "data.npz", "--norm", "linf")


def write_files(folder: Path) -> Path:
    """A network and its data, with a row that it gets wrong."""
    n = NETWORK
    np.savez(folder / "net.npz", W1=n.hidden, b1=n.hidden_bias, W2=n.output, b2=n.output_bias)
    X = np.random.default_rng(0).standard_normal((ROWS, 3))
    labels = NETWORK(X).argmax(axis=1)
    labels[WRONG_ROW] = 1 - labels[WRONG_ROW]
    np.savez(folder / "data.npz", X_train=X[:2], Y_train=np.eye(2)[:2], X_test=X, Y_test=np.eye(2)[labels])
    return folder


@pytest.fixture
def files(folder: Path) -> Path:
    return write_files(folder)


class Counter:
    """Counts calls of the verifier; may interrupt one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, interrupt: int | None = None) -> None:
        self.calls, self.interrupt, self.true = 0, interrupt, _radius.verify
        monkeypatch.setattr(_radius, "verify", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self.interrupt:
            raise KeyboardInterrupt
        return self.true(*arguments, **options)


@pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])
def test_certified_lies_below_true_and_true_below_attacked(norm: str) -> None:
    rng = np.random.default_rng(3)
    network = random_network(11, inputs=3, width=8, outputs=3)
    X = rng.standard_normal((6, 3))
    labels = network(X).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found = certnet_audit(network, X, labels, norm=norm, radii=[0.4, 0.02, 0.1], certified_radii=True)
    assert found.radii == (0.02, 0.1, 0.4)
    assert found.clean_accuracy == 5 / 6
    assert sorted(found.certified_accuracy, reverse=True) == list(found.certified_accuracy)
    for k, radius in enumerate(found.radii):
        assert found.certified_accuracy[k] <= found.attacked_accuracy[k] <= found.clean_accuracy
        assert found.attacked_accuracy[k] - found.certified_accuracy[k] == pytest.approx(found.undecided[k])
        for entry in found.inputs:
            step = rng.uniform(-1, 1, (500, 3))
            step /= np.abs(step).max(axis=1, keepdims=True) if norm == "linf" else np.linalg.norm(step, axis=1)[:, None]
            classes = network(X[entry.row] + radius * step).argmax(axis=1)
            if entry.status[k] == audit_input.CERTIFIED:
                assert (classes == entry.label).all()
                assert radius <= entry.certified_radius
            if entry.status[k] == audit_input.ATTACKED:
                assert entry.attacked_radius <= radius * (1 + 1e-9)
    assert all(entry.certified_radius <= entry.attacked_radius for entry in found.inputs)
    assert found.certified_accuracy[0] > 0
    assert found.certified_accuracy[2] < found.clean_accuracy


def test_known_radii_of_a_linear_classifier() -> None:
    """f = (x, −x): the class is kept exactly within |x|, and at 0 by nobody."""
    network = ReluNetwork(np.array([[1.0], [-1.0]]), np.zeros(2), np.array([[1.0, -1.0], [-1.0, 1.0]]), np.zeros(2))
    found = certnet_audit(network, [[0.3], [-0.7], [0.0], [2.0]], [0, 1, 0, 1], norm="l2", radii=[0.2, 0.5])
    certified, attacked = audit_input.CERTIFIED, audit_input.ATTACKED
    expected = [(certified, attacked), (certified, certified), (attacked, attacked), (attacked, attacked)]
    assert [entry.status for entry in found.inputs] == expected
    assert [entry.correct for entry in found.inputs] == [True, True, True, False]


def test_reports_certificates_and_resuming(certnet: Call, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = (*AUDIT, "--radii", RADII, "--certificates", "proofs", "--json", "-q")
    first = certnet(*call)
    assert first.code == 0
    report = first.json
    assert report["clean_accuracy"] == (ROWS - 1) / ROWS
    assert report["data"]["n"] == sum(row["n"] for row in report["classes"]) == ROWS
    assert report["worst"][0]["row"] == WRONG_ROW
    for k, row in enumerate(report["radii"]):
        assert row["certified_accuracy"] <= row["attacked_accuracy"] <= report["clean_accuracy"]
        weighted = sum(part["n"] * part["radii"][k]["certified_accuracy"] for part in report["classes"])
        assert weighted == pytest.approx(ROWS * row["certified_accuracy"])
    with (files / "runs/audit/net-data-linf-0.01-0.1-0.3/inputs.csv").open() as file:
        lines = list(csv.DictReader(file))
    certified = [(line["row"], name) for line in lines for name, value in line.items() if value == "certified"]
    names = {f"row-{row}-radius-{name.removeprefix('radius ')}.cert" for row, name in certified}
    assert names == {path.name for path in (files / "proofs").iterdir()}
    assert certnet("check", *sorted((files / "proofs").iterdir())[:2]).code == 0

    counter = Counter(monkeypatch)
    again = certnet(*call).json
    assert counter.calls == 0
    assert again["resumed"] == ROWS
    for name in ("clean_accuracy", "radii", "classes", "worst"):
        assert again[name] == report[name]
    journal = files / "runs/audit/net-data-linf-0.01-0.1-0.3/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])  # what a power cut leaves
    torn = certnet(*call).json
    assert 0 < counter.calls <= 3
    assert torn["radii"] == report["radii"]
    assert certnet(*call).json["resumed"] == ROWS


def test_a_certified_radius_has_a_certificate_of_its_own(certnet: Call, files: Path) -> None:
    call = (*AUDIT, "--radii", "0.05", "--certified-radii", "--certificates", "proofs", "--json", "-q")
    assert certnet(*call).code == 0
    with (files / "runs/audit/net-data-linf-0.05/inputs.csv").open() as file:
        lines = list(csv.DictReader(file))
    radii = {line["row"]: float(line["certified_radius"]) for line in lines if float(line["certified_radius"]) > 0}
    assert len(radii) == ROWS - 1
    for row, radius in radii.items():
        proof = read_certificate(files / "proofs" / f"row-{row}-radius-{radius!r}.cert")
        assert check(proof).verdict is Verdict.PROVED
        half = 0.5 * (proof.cases[0].region.upper - proof.cases[0].region.lower)
        np.testing.assert_allclose(half, radius, rtol=1e-12)
    # A missing certificate is proved again.
    (files / "proofs" / f"row-0-radius-{radii['0']!r}.cert").unlink()
    assert certnet(*call).json["resumed"] == ROWS - 1
    assert (files / "proofs" / f"row-0-radius-{radii['0']!r}.cert").is_file()


def test_ctrl_c_writes_what_is_there(certnet: Call, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = certnet(*AUDIT, "--radii", RADII, "--out", "whole", "--json", "-q").json
    Counter(monkeypatch, interrupt=6)
    done = certnet(*AUDIT, "--radii", RADII, "--out", "cut", "--json", "-q")
    assert done.code == 130
    assert done.json["interrupted"]
    assert 0 < done.json["reached"] < ROWS
    for row, full in zip(done.json["radii"], whole["radii"], strict=True):
        assert row["certified_accuracy"] <= full["certified_accuracy"]
        assert row["attacked_accuracy"] >= full["attacked_accuracy"]
    assert (files / "cut/report.json").is_file()
    again = certnet(*AUDIT, "--radii", RADII, "--out", "cut", "--json", "-q").json
    assert again["resumed"] == done.json["reached"]
    assert again["radii"] == whole["radii"]


def test_no_time_leaves_inputs_undecided_and_unfinished(certnet: Call, files: Path) -> None:
    done = certnet(*AUDIT, "--radii", RADII, "--time-limit", "1e-9", "--json", "-q")
    assert done.code == 3
    assert done.json["reached"] <= 1
    assert done.json["radii"][2]["undecided"] > 0
    assert certnet(*AUDIT, "--radii", RADII, "--json", "-q").code == 0


WRONG = {
    "a negative radius": (("--radii", "0.1,-1"), "--radii must be positive"),
    "no number": (("--radii", "0.1,nan"), "not 'nan'"),
    "no radius": (("--radii", ""), "--radii must be positive"),
    "twice the same": (("--radii", "0.1,0.10"), "twice"),
    "other data": (("--radii", "1", "--data", "iris"), "4 features"),
    "other classes": (("--radii", "1", "--data", "three.npz"), "3 classes"),
    "no rows": (("--radii", "1", "--part", "validation"), "no validation rows"),
    "no inputs": (("--radii", "1", "--limit", "0"), "--limit"),
    "no worker": (("--radii", "1", "--workers", "0"), "--workers"),
    "a limit that is none": (("--radii", "1", "--input-limit", "-2"), "--input-limit"),
    "no norm": (("--radii", "1", "--norm", "l7"), "--norm"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_one_sentence(certnet: Call, files: Path, wrong: str) -> None:
    np.savez(files / "three.npz", X=np.ones((6, 3)), Y=np.eye(3)[[0, 1, 2, 0, 1, 2]])
    words, expected = WRONG[wrong]
    arguments = [*AUDIT, *words]
    if "--data" in words:
        arguments = ["audit", "net.npz", words[-1], "--norm", "linf", *words[:2], "--part", "all"]
    done = certnet(*arguments)
    assert done.code == 2
    assert expected in one_sentence(done)
    assert not (files / "runs").exists()


def test_foreign_and_damaged_journals_are_kept_and_refused(certnet: Call, files: Path) -> None:
    assert certnet(*AUDIT, "--radii", "0.01", "-q").code == 0
    assert certnet(*AUDIT, "--radii", "0.02", "-q").code == 0  # in a folder of its own
    journal = files / "runs/audit/net-data-linf-0.01/journal.jsonl"
    there = ("--out", str(journal.parent), "-q")
    before = journal.read_text()
    other = certnet(*AUDIT, "--radii", "0.02", *there)
    assert other.code == 2
    assert "another network, other data or other options" in one_sentence(other)
    assert journal.read_text() == before
    for text in (before.replace("certified", "attacked "), before.replace('"row":1', '"row":2', 1), "x\n", "[]\n"):
        journal.write_text(text)
        damaged = certnet(*AUDIT, "--radii", "0.01", "-q")
        assert damaged.code == 2
        assert "is damaged" in one_sentence(damaged)
        assert journal.read_text() == text
    assert certnet(*AUDIT, "--radii", "0.02", *there, "--fresh").code == 0


def test_arguments_that_do_not_fit() -> None:
    x = np.zeros((1, 3))
    for changes, words in (
        ({"radii": []}, "at least one"),
        ({"radii": [np.nan]}, "positive"),
        ({"norm": "l1"}, "linf or l2"),
        ({"labels": [2]}, "no output 2"),
        ({"labels": [0.5]}, "whole numbers"),
        ({"X": np.zeros((1, 2))}, "3 inputs"),
        ({"workers": 0}, "workers"),
        ({"input_limit": -1.0}, "input_limit"),
    ):
        arguments: dict[str, Any] = {"X": x, "labels": [0], "norm": "l2", "radii": [0.1], **changes}
        with pytest.raises(InputError, match=words):
            certnet_audit(NETWORK, **arguments)


def test_progress_counts_inputs_and_known_ones_are_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(1).standard_normal((4, 3))
    labels = NETWORK(X).argmax(axis=1)
    first = certnet_audit(NETWORK, X, labels, norm="l2", radii=[0.05])
    counter, stages = Counter(monkeypatch), []
    known = {row: first.inputs[row] for row in (0, 2)}
    again = certnet_audit(NETWORK, X, labels, norm="l2", radii=[0.05], known=known, progress=stages.append)
    assert counter.calls == 2
    assert [event.stage.split(",")[0] for event in stages] == ["input 3 of 4", "input 4 of 4"]
    assert [entry.status for entry in again.inputs] == [entry.status for entry in first.inputs]


@pytest.mark.slow
def test_workers_change_nothing(certnet: Call, files: Path) -> None:
    one = certnet(*AUDIT, "--radii", RADII, "--out", "one", "--json", "-q").json
    two = certnet(*AUDIT, "--radii", RADII, "--out", "two", "--workers", "2", "--json", "-q").json
    assert (one["radii"], one["classes"]) == (two["radii"], two["classes"])


def test_inputs_that_wait_for_a_worker_have_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three inputs that each take all the time they get, one after the other."""
    given: list[float] = []

    def all_of_it(*_: Any, time_limit: float, **__: Any) -> Any:
        given.append(time_limit)
        time.sleep(max(time_limit, 0.0))
        return SimpleNamespace(verdict=Verdict.UNKNOWN, certificate=None, counterexample=None)

    monkeypatch.setattr(_radius, "verify", all_of_it)

    @contextmanager
    def together(*_: object, **__: object) -> Any:
        yield (lambda tasks: (function(*given) for function, given, _ in list(tasks))), 2

    monkeypatch.setattr(_audit, "pool_of", together)
    X = np.random.default_rng(1).standard_normal((3, 3))
    found = certnet_audit(NETWORK, X, NETWORK(X).argmax(axis=1), norm="l2", radii=[0.05], time_limit=1.0)
    assert sum(given) < 1.5
    assert [entry.reached for entry in found.inputs] == [False] * 3
