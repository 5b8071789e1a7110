"""``certnet verify --instances``: each instance as by itself, and a journal that is read but not believed."""

import csv
import errno
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Certificate
from certnet.io.instances import Instance
from certnet.jobs import batch, journal
from formulations import InputError
from tests.cli.support import Call
from tests.cli.test_verify import files as files

LIST = "net.npz,safe.vnnlib,20,unsat\nnet.npz,unsafe.vnnlib,20,violated\n\nnet.npz,tied.vnnlib,20\n"


@pytest.fixture
def listed(files: Path) -> Path:
    """A list of a property that holds, one that does not, and one with a margin of 0 up to rounding."""
    (files / "tied.vnnlib").write_text((files / "safe.vnnlib").read_text().replace("(<= (- Y_0", "(<= (- Y_1"))
    (files / "instances.csv").write_text(LIST)
    return files


def test_every_instance_gets_the_verdict_of_a_call_of_its_own(certnet: Call, listed: Path) -> None:
    alone = [certnet("verify", listed / "net.npz", listed / f"{name}.vnnlib") for name in ("safe", "unsafe", "tied")]
    words = [done.out.split("\n")[0] for done in alone]
    assert words[:2] == ["unsat", "sat"]
    done = certnet("verify", "--instances", listed, "--certificate", "proofs", "--out", "out")
    assert [line.split()[1] for line in done.out.splitlines()[:3]] == words
    assert done.code == (0 if words[2] in ("sat", "unsat") else 3)
    rows = list(csv.reader(Path("out/results.csv").read_text().splitlines()))
    assert [(row[0], row[1], row[4]) for row in rows] == [(listed.name, "net.npz", word) for word in words]
    checked = certnet(
        "check", "proofs/safe.cert", "--property", listed / "safe.vnnlib", "--network", listed / "net.npz"
    )
    assert checked.code == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["contradicted"] == []
    assert "2 as expected, 0 against it" in report["reason"]


def test_reading_is_under_the_time_limit(certnet: Call, tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", W1=np.ones((1, 1)), W2=np.ones((1, 1)))
    names = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))"
    (tmp_path / "p.vnnlib").write_text(names + "(assert (or (<= Y_0 0) (>= Y_0 1)))" * 2 + "(assert (<= Y_0 9))" * 5000)
    done = certnet("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib", "--timeout", 1e-9)
    assert (done.code, done.out.split("\n")[0]) == (3, "timeout")
    assert "reading" in done.out
    (tmp_path / "instances.csv").write_text("n.npz,p.vnnlib,1e-9\n")
    done = certnet("verify", "--instances", tmp_path / "instances.csv", "--out", tmp_path / "out", "--json")
    assert done.code == 3
    assert [(one["result"], "reading" in one["reason"]) for one in done.json["results"]] == [("timeout", True)]


def test_a_contradicted_verdict_and_a_missing_file_are_named(certnet: Call, listed: Path) -> None:
    (listed / "verdicts.csv").write_text("instance,expected\nsafe.vnnlib,sat\n")
    command = ("verify", listed / "net.npz", "--instances", listed / "[su]*.vnnlib", "--json")
    done = certnet(*command, "--expected", listed / "verdicts.csv")
    assert done.code == 1
    assert [Path(name).name for name in done.json["contradicted"]] == ["safe.vnnlib"]
    (listed / "more.csv").write_text("lost.npz,safe.vnnlib\nnet.npz,safe.vnnlib\n")
    done = certnet("verify", "--instances", listed / "more.csv", "--json")
    assert done.code == 2
    assert [row["result"] for row in done.json["results"]] == ["error", "unsat"]


def test_what_is_finished_is_confirmed_and_nothing_of_it_believed(certnet: Call, listed: Path) -> None:
    command = ("verify", "--instances", listed, "--out", "out", "--json")
    first = certnet(*command).json
    assert first["resumed"] == 0
    assert certnet(*command).json["resumed"] == 3
    path = Path("out/journal.jsonl")
    head, *lines = path.read_text().splitlines()
    honest = [json.loads(line.rpartition("\t")[0]) for line in lines]
    # Verdicts, proof and counterexample of other instances.
    swapped = [{**mine, "files": other["files"]} for mine, other in zip(honest, honest[1:] + honest[:1], strict=True)]
    digests = {tuple(line["files"]): line["digest"] for line in honest}
    for forged in (swapped, [{**line, "digest": digests[tuple(line["files"])]} for line in swapped]):
        path.write_text("\n".join([head, *(journal._line(line).decode().strip() for line in forged)]) + "\n")
        again = certnet(*command).json
        assert [row["result"] for row in again["results"][:2]] == ["unsat", "sat"]
        assert not again["results"][0]["resumed"]
        assert not again["results"][1]["resumed"]
    # A property that has changed is another one.
    (listed / "safe.vnnlib").write_text((listed / "unsafe.vnnlib").read_text())
    assert certnet(*command).json["results"][0]["result"] == "sat"
    path.write_text(path.read_text().replace("unsat", "sat"))
    assert "damaged" in certnet(*command).err
    assert certnet(*command, "--fresh").json["resumed"] == 0


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("net.npz\n", (), "line 1: an instance is"),
        ("net.npz,safe.vnnlib,fast\n", (), "line 1: an instance is"),
        ("net.npz,safe.vnnlib,-1\n", (), "line 1: an instance is"),
        ("net.npz,a\x1b[31m.vnnlib\n", (), "line 1: an instance is"),
        ("net.npz,a\0.vnnlib\n", (), "line 1: an instance is"),
        ("", (), "no instance"),
        (LIST, ("--radius", "1"), "Leave --radius out"),
        (LIST, ("--expected", "nothing.csv"), "cannot be read"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    certnet: Call, files: Path, text: str, arguments: tuple[str, ...], message: str
) -> None:
    (files / "list.csv").write_text(text)
    done = certnet("verify", "--instances", files / "list.csv", *arguments)
    assert done.code == 2
    assert message in done.err


def test_options_of_lists_need_one(certnet: Call, files: Path) -> None:
    done = certnet("verify", files / "net.npz", files / "safe.vnnlib", "--out", "somewhere")
    assert done.code == 2
    assert "--instances" in done.err
    assert certnet("verify", files / "net.npz", "--instances", files / "none*").code == 2


HOW = {"semantics": "real", "random_state": 0}


def test_who_had_less_than_its_time_is_tried_again(listed: Path) -> None:
    """The limit of the whole command had cut it short."""
    one = Instance("net.npz", "safe.vnnlib", listed)
    short = batch.settled(0, one, 60.0, HOW, time.time() + 5.0)[1]
    assert short.limit is not None
    assert short.limit <= 5.0
    assert batch.settled(0, one, 60.0, HOW, math.inf)[1].limit == 60.0
    for limit, tried in ((5.0, True), (60.0, False)):
        claim = batch.Answer("timeout", "", digest=short.digest, limit=limit, resumed=True)
        again = batch.settled(0, one, 60.0, HOW, math.inf, claim)[1]
        assert (again.result, again.resumed) == (("unsat", False) if tried else ("timeout", True))


def test_what_one_instance_fails_at_ends_no_other(certnet: Call, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = batch.verify

    def failing(*arguments: Any, **how: Any) -> Any:
        if how["provenance"]["property"] == "safe.vnnlib":
            raise ZeroDivisionError
        return true(*arguments, **how)

    monkeypatch.setattr(batch, "verify", failing)
    done = certnet("verify", "--instances", listed, "--out", "out", "--json")
    assert done.code == 2
    assert [row["result"] for row in done.json["results"][:2]] == ["error", "sat"]
    assert "ZeroDivisionError" in done.json["results"][0]["reason"]


def test_a_full_disk_costs_proofs_and_no_result(certnet: Call, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(place: Path, certificate: Certificate) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_certificate", full)
        done = certnet("verify", "--instances", listed, "--certificate", "proofs", "--out", "out", "--json")
    assert [row["result"] for row in done.json["results"][:2]] == ["unsat", "sat"]
    assert any("No space left" in note for note in done.json["notes"])
    again = certnet("verify", "--instances", listed, "--certificate", "proofs", "--out", "out", "--json").json
    assert (again["results"][0]["result"], again["results"][0]["resumed"]) == ("unsat", False)
    assert Path("proofs/safe.cert").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"files": [["a"], "b"]}, {"files": "ab"}, {"result": "proved"}, {"x": ["1"]}, {"x": [1e308, None]},
        {"case": 0.5}, {"limit": "60"}, {"more": 1}, {"seconds": None},
    ],
)  # fmt: skip
def test_lines_of_other_types_are_damage(certnet: Call, listed: Path, change: dict[str, Any]) -> None:
    head, line = {"a": 1}, {"files": ["n", "p"], "result": "unsat", "reason": "", "prepared": 0.0, "seconds": 0.0}
    line |= {"x": None, "case": 0, "digest": "", "limit": None, "proof": None}
    file = batch.BatchJournal(listed / "journal.jsonl", head)
    for content, bad in ((line, False), (line | change, True)):
        file.path.write_bytes(journal._line({"format": batch.FORMAT, **head}) + journal._line(content))
        if bad:
            with pytest.raises(InputError, match="damaged"):
                file.claims([])
        else:
            file.claims([])
