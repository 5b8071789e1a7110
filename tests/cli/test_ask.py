"""``certnet range``, ``equivalence``, ``monotonicity`` and ``radius``, and what ``certnet check`` says of proofs."""

import errno
import importlib
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates.layout import KINDS
from certnet.io.columns import Column, Columns
from certnet.io.network import ROUNDED, TwoLayerNetwork
from formulations.network import ReluNetwork
from tests.cli.support import Call, caller, one_sentence
from tests.cli.test_lipschitz import saved
from tests.interchange.test_onnx import SPELLINGS

NETWORK = ReluNetwork(
    np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2), np.array([[1.0, -1.0], [0.0, 2.0]]), np.array([0.0, 0.5])
)
"""f(x) = (x₊ − y₊, 2 y₊ + 1/2)."""


@pytest.fixture
def certnet(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, NETWORK)
    np.savez("rows.npz", X=np.array([[1.0, 0.25], [0.5, 0.0]]))
    Path("box.vnnlib").write_text(
        "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        "(assert (and (<= X_0 1) (>= X_0 -1) (<= X_1 2) (>= X_1 0) (<= Y_0 7)))"
    )
    return caller(capsys)


@pytest.mark.parametrize(
    ("box", "first"),
    [
        ("[-1,1],[0,2]", (-2.0, 1.0)),
        ("box.vnnlib", (-2.0, 1.0)),
        ("[0, 0.5]", (-0.5, 0.5)),
        ("rows.npz", (0.25, 1.0)),
    ],
)
def test_ranges_on_boxes(certnet: Callable[..., Any], box: str, first: tuple[float, float]) -> None:
    done = certnet("range", "net.npz", box, "--certificate", "r.cert", "--json")
    assert done.code == 0
    result = done.json["results"][0]
    for end, true in zip(("minimum", "maximum"), first, strict=True):
        assert result[end]["attained"] == true
        assert result[end]["proved"] == pytest.approx(true, abs=0.01)
    assert certnet("check", "r.cert", "--network", "net.npz").code == 0


def test_a_side_beyond_all_numbers_is_one_sentence(certnet: Callable[..., Any]) -> None:
    assert "beyond the range of float64" in one_sentence(certnet("range", "net.npz", "[0,1e999]"))


def test_ranges_of_sums_around_rows(certnet: Callable[..., Any]) -> None:
    done = certnet("range", "net.npz", "rows.npz", "--radius", "0.1", "--weights", "1,0.5", "--certificate", "proofs")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("row 0 1*y_0 + 0.5*y_1: minimum in [1.14")
    assert sorted(path.name for path in Path("proofs").iterdir()) == ["row-0.cert", "row-1.cert"]


def test_equal_networks(certnet: Callable[..., Any]) -> None:
    np.savez("other.npz", W1=NETWORK.hidden, b1=NETWORK.hidden_bias, W2=NETWORK.output, b2=np.array([0.0, 0.625]))
    done = certnet("equivalence", "net.npz", "other.npz", "[-1,1]")
    assert done.code == 0
    assert "y_1 - y'_1: minimum in [-0.125" in done.out
    assert "a difference of 0.125 was met" in done.out
    assert certnet("equivalence", "net.npz", "other.npz", "[-1,1]", "--epsilon", "0.126").code == 0
    done = certnet("equivalence", "net.npz", "other.npz", "[-1,1]", "--epsilon", "0.125", "--json")
    assert done.code == 1
    assert done.json["results"][0]["counterexample"]["margin"] == 0.0


def test_networks_of_named_columns_are_compared_by_name(certnet: Callable[..., Any]) -> None:
    colour = Column("colour", "category", categories=("blue", "red"))
    age, income, day = Column("age"), Column("income"), Column("day", "date", form="ISO", origin=19000.0)

    def save(name: str, weights: list[float], *columns: Column) -> None:
        network = ReluNetwork(np.array([weights]), np.zeros(1), np.ones((1, 1)), np.zeros(1))
        TwoLayerNetwork(network, columns=Columns(columns)).save(name)

    save("a.npz", [1.0, 2.0, 3.0, -4.0], age, colour, income)
    save("permuted.npz", [-4.0, 1.0, 2.0, 3.0], income, age, colour)
    save("alike.npz", [1.0, 2.0, 3.0, -4.0], income, colour, age)
    save("days.npz", [1.0, 2.0, 3.0, -4.0], age, colour, day)
    save("later.npz", [1.0, 2.0, 3.0, -4.0], age, colour, replace(day, origin=19001.0))
    same = ("--epsilon", "0.001", "--certificate", "e.cert")
    assert certnet("equivalence", "a.npz", "permuted.npz", "[-1,1]", *same).code == 0
    assert certnet("check", "e.cert").code == 0
    assert certnet("equivalence", "a.npz", "alike.npz", "[-1,1]", "--epsilon", "0.001").code == 1
    for first, second, odd in (("a.npz", "days.npz", "of day and income"), ("days.npz", "later.npz", "of day;")):
        done = certnet("equivalence", first, second, "[-1,1]")
        assert done.code == 2
        assert odd in one_sentence(done)


def test_directions(certnet: Callable[..., Any]) -> None:
    done = certnet("monotonicity", "net.npz", "[-1,1]", "--json")
    assert done.code == 0
    found = [(one["input"], one["output"], one["direction"]) for one in done.json["results"]]
    assert found == [("x_0", 0, "rises"), ("x_0", 1, "rises"), ("x_1", 0, "falls"), ("x_1", 1, "rises")]


def test_a_proof_of_too_many_cases_is_not_written(certnet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "robustness", replace(KINDS["robustness"], most=1))
    done = certnet("range", "net.npz", "[0,1]", "--certificate", "r.cert", "--json")
    assert done.code == 0
    assert "a certificate file holds 1" in done.json["notes"][0]
    assert "a certificate file holds 1" in done.err
    assert not Path("r.cert").exists()


def test_radii_of_rows_without_labels(certnet: Callable[..., Any]) -> None:
    """Row 0 has the outputs 0.75 and 1, which meet where y = (x − 1/2)/3; row 1 has two that are equal."""
    done = certnet("radius", "net.npz", "rows.npz", "--each-input", "--largest", "4", "--certificate", "p", "--json")
    assert done.code == 0
    rows = [(one["row"], one["answer"], one["input"]) for one in done.json["results"]]
    assert rows == [(0, ["1"], "x_0"), (0, ["1"], "x_1"), (1, ["0", "1"], "x_0"), (1, ["0", "1"], "x_1")]
    first, second, *tied = done.json["results"]
    assert first["certified_radius"] == pytest.approx(0.25, rel=0.002)
    assert second["certified_radius"] == pytest.approx(0.25 / 3.0, rel=0.002)
    assert [one["certified_radius"] for one in tied] == [4.0, 4.0]
    assert certnet("check", "p").code == 0
    done = certnet("radius", "net.npz", "rows.npz", "--tied", "0,1", "--rows", "0", "--json")
    assert done.json["results"][0]["attacked_radius"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("range", "net.npz", "[0;1]"), "an interval such as"),
        (("range", "net.npz", "[0,1],[0,1],[0,1]"), "3 intervals, but the network has 2 inputs"),
        (("range", "net.npz", "[1,0]"), "above its upper bound"),
        (("range", "net.npz", "[0,1]", "--rows", "0"), "Leave --rows out: it goes with data"),
        (("range", "net.npz", "[0,1]", "--radius", "0"), "Leave --radius out: it goes with data"),
        (("range", "net.npz", "[0,1]", "--weights", "1,x"), "--weights must be 2 numbers"),
        (("range", "net.npz", "rows.npz", "--norm", "l2"), "--norm goes with --radius"),
        (("equivalence", "net.npz", "net.npz", "[0,1]", "--epsilon", "0"), "epsilon must be"),
        (("monotonicity", "net.npz", "[0,1]", "--input", "z"), "--input must be a number from 0 to 1"),
        (("radius", "net.npz", "rows.npz", "--each-input", "--input", "0"), "exclude each other"),
        (("radius", "net.npz", "rows.npz", "--tied", "0,7"), "--tied must be two or more of the classes 0, 1"),
    ],
)
def test_what_makes_no_sense(certnet: Callable[..., Any], words: tuple[str, ...], sentence: str) -> None:
    done = certnet(*words)
    assert done.code == 2
    assert sentence in one_sentence(done)


def interrupting(monkeypatch: pytest.MonkeyPatch, place: str, after: int = 1) -> None:
    """Ctrl-C in a function of the package once it has done so many calls."""
    module, _, name = place.rpartition(".")
    work, calls = getattr(importlib.import_module(module), name), itertools.count()

    def work_once(*given: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return work(*given, **named)

    monkeypatch.setattr(place, work_once)


def test_ctrl_c_leaves_the_answers_so_far(certnet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(monkeypatch, "certnet.jobs.output_range.output_range")
    asked = ("range", "net.npz", "rows.npz", "--radius", "0.1", "--output", "0", "--certificate", "proofs")
    done = certnet(*asked, "--json")
    assert done.code == 130
    assert (done.json["verdict"], done.json["interrupted"]) == ("UNKNOWN", True)
    assert [entry["region"] for entry in done.json["results"]] == ["row 0"]
    assert "interrupted after 1 of 2 questions" in done.json["reason"]
    interrupting(monkeypatch, "certnet.jobs.output_range.output_range", after=0)
    done = certnet(*asked)
    assert (done.code, done.out) == (130, "")
    assert "Interrupted." in done.err


def test_ctrl_c_in_a_check_of_several(certnet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    certnet("range", "net.npz", "rows.npz", "--radius", "0.1", "--output", "0", "--certificate", "proofs")
    interrupting(monkeypatch, "certificates.checker.check")
    done = certnet("check", "proofs/row-0.cert", "proofs/row-1.cert", "--json")
    assert (done.code, done.json["verdict"], len(done.json["results"])) == (130, "UNKNOWN", 1)
    assert done.json["reason"] == "1 of 2 certificates are proved; interrupted after 1"


def test_a_full_disk_costs_the_proof_and_not_the_answer(
    certnet: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("certificates.write_certificate", full)
    Path("safe.vnnlib").write_text(Path("box.vnnlib").read_text().replace("(<= Y_0 7)", "(>= Y_0 7)"))
    for asked in (("range", "net.npz", "[0,1]"), ("verify", "net.npz", "safe.vnnlib")):
        usual, done = certnet(*asked), certnet(*asked, "--certificate", "r.cert")
        assert (done.code, done.out) == (usual.code, usual.out)
        assert (usual.code, "cannot write r.cert: No space left on device" in done.err) == (0, True)
        said = certnet(*asked, "--certificate", "r.cert", "--json").json
        assert said["files"] == {}
        assert any("cannot write r.cert" in note for note in said["notes"])


@pytest.mark.parametrize(
    "call",
    [
        ("range", "[-1,1]"),
        ("lipschitz",),
        ("monotonicity", "[-1,1]", "--input", "0"),
        ("radius", "new.csv", "--norm", "linf", "--rows", "0:1"),
        ("verify", "rows.csv", "--norm", "linf", "--radius", "0.01", "--rows", "0:1"),
        ("audit", "rows.csv", "--norm", "linf", "--radii", "0.01", "--part", "all", "--limit", "1"),
        ("predict", "new.csv", "--radius-norm", "linf", "--largest-radius", "0.1"),
        ("optimality", "rows.csv", "--gamma", "1", "--no-train", "--raw", "--no-split", "--time-limit", "1"),
    ],
    ids=lambda call: call[0],
)
def test_weights_that_float64_rounded_are_said_to_be_so(certnet: Call, call: tuple[str, ...]) -> None:
    """What is proved is about them, and not about the numbers of the file."""
    command, *options = call
    SPELLINGS["weights beyond the Relu"]().write(Path())
    rows = np.random.default_rng(0).normal(size=(8, 3)).round(2)
    Path("rows.csv").write_text("a,b,c,y\n" + "".join(f"{a},{b},{c},{int(a > b)}\n" for a, b, c in rows))
    Path("new.csv").write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    (model,) = Path().glob("*.onnx")
    report = certnet(command, str(model), *options, "--json").json
    assert sum(note == ROUNDED for note in report["notes"]) == 1
