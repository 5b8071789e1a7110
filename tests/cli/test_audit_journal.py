"""The journal of an audit is read, not believed: whatever its lines say, no false claim comes of it."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Verdict, check
from certnet.cli import main
from certnet.jobs import audit as _audit
from certnet.jobs import journal
from certnet.jobs.verify import verify
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import region_maker
from tests.cli import test_audit
from tests.cli.support import Call, one_sentence, strict
from tests.cli.test_audit import AUDIT, NETWORK, ROWS, WRONG_ROW, Counter
from tests.verification.problems import random_network

JOURNAL = "runs/audit/net-data-linf-0.05-0.4/journal.jsonl"
CALL = (*AUDIT, "--radii", "0.05,0.4", "--json", "-q")
Line = dict[str, Any]
inputs = test_audit.files


def read(path: Path) -> tuple[str, dict[int, Line]]:
    head, *lines = path.read_text().splitlines()
    values = [json.loads(line.rpartition("\t")[0]) for line in lines]
    return head, {value["row"]: value for value in values}


def write(path: Path, head: str, lines: list[Line]) -> None:
    """Lines as anybody can write them, with digests that fit."""
    texts = [json.dumps(value) for value in lines]
    path.write_text("\n".join([head, *(f"{t}\t{hashlib.sha256(t.encode()).hexdigest()[:16]}" for t in texts), ""]))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What an audit leaves in its folder, and its report: made once."""
    home = test_audit.write_files(tmp_path_factory.mktemp("first"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main([*map(str, CALL)]) in (0, 3)
    return home, strict((home / JOURNAL).with_name("report.json").read_text())


@pytest.fixture
def honest(inputs: Path, first: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    """The report of an audit whose journal is there."""
    home, report = first
    shutil.copytree(home / "runs", inputs / "runs")
    assert 0 < report["radii"][1]["certified_accuracy"] < report["radii"][0]["certified_accuracy"] < 1
    return report


def changed(folder: Path, change: Callable[[dict[int, Line]], object]) -> None:
    head, lines = read(folder / JOURNAL)
    change(lines)
    write(folder / JOURNAL, head, list(lines.values()))


def certified(lines: dict[int, Line], radius: float) -> list[int]:
    return [row for row, line in lines.items() if line["certified_radius"] >= radius]


def test_an_honest_journal_spares_the_work(
    certnet: Call,
    inputs: Path,
    honest: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Counter(monkeypatch)
    again = certnet(*CALL).json
    assert counter.calls == 0
    assert again["resumed"] == ROWS
    for name in ("clean_accuracy", "radii", "classes", "worst"):
        assert again[name] == honest[name]


WEAKER = ("rows_exchanged",)
"""What these make of the journal may be true, and less than is known."""


def forgeries() -> dict[str, Callable[[dict[int, Line]], object]]:
    def all_certified(lines: dict[int, Line]) -> None:
        for line in lines.values():
            line.update(certified_radius=0.4, counterexample=None)

    def proof_of_another_row(lines: dict[int, Line]) -> None:
        good = lines[certified(lines, 0.05)[0]]["proof"]
        for line in lines.values():
            line.update(certified_radius=0.4, counterexample=None, proof=good)

    def no_proof(lines: dict[int, Line]) -> None:
        for line in lines.values():
            line["proof"] = None

    def all_attacked(lines: dict[int, Line]) -> None:
        for line in lines.values():
            line.update(certified_radius=0.0, counterexample=[0.0, 0.0, 0.0], proof=None)

    def rows_exchanged(lines: dict[int, Line]) -> None:
        for line in lines.values():
            line["row"] = (line["row"] + 1) % ROWS

    def misclassified_is_certified(lines: dict[int, Line]) -> None:
        lines[WRONG_ROW].update(certified_radius=0.4, proof=lines[certified(lines, 0.05)[0]]["proof"])

    return {function.__name__: function for function in list(locals().values())}


def test_lies_change_no_figure(certnet: Call, inputs: Path, honest: dict[str, Any]) -> None:
    before = (inputs / JOURNAL).read_text()
    for name, forgery in forgeries().items():
        (inputs / JOURNAL).write_text(before)
        changed(inputs, forgery)
        again = certnet(*CALL).json
        assert again["clean_accuracy"] == honest["clean_accuracy"]
        for row, true in zip(again["radii"], honest["radii"], strict=True):
            assert row["certified_accuracy"] <= true["certified_accuracy"], name
            assert row["attacked_accuracy"] >= true["attacked_accuracy"], name
        if name not in WEAKER:
            assert again["radii"] == honest["radii"], name
            assert certnet(*CALL).json["resumed"] == ROWS


JUNK: list[Any] = [
    None, True, "x", -1, 1.5, 99, 10**400, 1e300, float("nan"), float("inf"), [], {}, [[]], [1e999] * 3, ["a"] * 3,
    [0.0] * 2, {"shapes": 1}, {"shapes": [[[1]]], "data": "!"}, {"shapes": [[[-1]] * 20], "data": "eJwDAAAAAAE="},
]  # fmt: skip


@pytest.mark.parametrize("field", ["row", "certified_radius", "counterexample", "seconds", "proof", "extra"])
def test_junk_is_damage_or_changes_nothing(certnet: Call, inputs: Path, field: str) -> None:
    call = (*CALL, "--limit", "2")
    honest, before = certnet(*call).json, (inputs / JOURNAL).read_text()
    for junk in JUNK:
        (inputs / JOURNAL).write_text(before)
        changed(inputs, lambda lines, junk=junk: lines[0].update({field: junk}))  # type: ignore[misc]
        found = certnet(*call)
        if found.code == 2:
            assert "is damaged" in found.json["reason"]
            one_sentence(found)
        else:
            for row, true in zip(found.json["radii"], honest["radii"], strict=True):
                assert row["certified_accuracy"] <= true["certified_accuracy"]
                assert row["attacked_accuracy"] >= true["attacked_accuracy"]


def test_another_version_is_another_audit(certnet: Call, honest: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.cli.audit.__version__", "99")
    other = certnet(*CALL)
    assert other.code == 2
    assert "another version" in other.json["reason"]


def test_certificates_of_an_earlier_run_are_checked(certnet: Call, inputs: Path) -> None:
    call = (*CALL, "--certificates", "proofs")
    report = certnet(*call).json
    paths = sorted((inputs / "proofs").glob("*.cert"))
    good = paths[0].read_bytes()
    for path in paths:
        path.write_bytes(b"junk")
    again = certnet(*call).json
    assert again["resumed"] < ROWS
    assert again["radii"] == report["radii"]
    assert paths[0].read_bytes() == good
    for path in paths[1:]:
        path.write_bytes(good)  # a proof about another input or radius
    assert certnet(*call).json["radii"] == report["radii"]


def test_a_full_disk_costs_the_journal_only(
    certnet: Call,
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, true = [0], os.fsync

    def full(descriptor: int) -> None:
        calls[0] += 1
        if 4 <= calls[0] <= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        true(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("certnet.jobs.journal.os.fsync", full)
        report = certnet(*CALL)
    assert report.code == 0
    assert report.json["reached"] == ROWS
    assert any("No space left" in note for note in report.json["notes"])
    again = certnet(*CALL).json
    assert 0 < again["resumed"] < ROWS
    assert again["radii"] == report.json["radii"]


@pytest.mark.parametrize("semantics", ["real", "float32"])
def test_packed_proofs_are_the_proofs(semantics: str) -> None:
    network = random_network(6, width=12)
    arrays = (network.hidden, network.hidden_bias, network.output, network.output_bias)
    network = ReluNetwork(*(array.astype(np.float32).astype(float) for array in arrays))
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal(3)
        label = int(network(x[None])[0].argmax())
        cases = keeps_class(network, region_maker("l2")(x, 0.1), label)
        found = verify(network, cases, semantics=semantics).certificate
        if found is None:
            continue
        packed = json.loads(json.dumps(journal.pack(found)))
        proofs = journal.unpack(packed)
        assert proofs is not None
        again = replace(found, proofs=proofs)
        assert check(again).margin == check(found).margin
        assert check(again).verdict is Verdict.PROVED
        packed["shapes"]["/0/stable"][0] += 1
        assert journal.unpack(packed) is None


def test_known_entries_of_a_journal_need_a_proof() -> None:
    x = np.random.default_rng(0).standard_normal((1, 3))
    label = NETWORK(x).argmax(axis=1)
    lie = _audit.InputAudit(0, 0, 0, 0.0, (), 50.0, np.inf, True, 0.0, resumed=True)
    found = _audit.audit(NETWORK, x, label, norm="l2", radii=[50.0], known={0: lie})
    assert found.certified_accuracy == (0.0,)
    assert not found.inputs[0].resumed
