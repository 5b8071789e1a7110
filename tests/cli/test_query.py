"""``certnet verify QUERY --network NAME=FILE`` and ``certnet supports``: the solver interface of VNN-LIB 2.0."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from certnet.cli.doctor import CAPABILITIES
from certnet.io import write_onnx
from certnet.io.endings import ENDINGS
from certnet.runtime.abandon import OutOfTimeError
from certnet.search.counterexample import exact_outputs
from tests.cli.support import Call
from tests.cli.test_verify import BOX as SIDES
from tests.cli.test_verify import LEAST
from tests.cli.test_verify import NETWORK as HARD
from tests.interchange.test_onnx_exports import Export
from tests.verification.problems import random_network

NETWORK = random_network(6, width=5)
BOX = "(and (>= {0}[0,{1}] 0.0) (<= {0}[0,{1}] 0.5))"
HEAD = """(vnnlib-version <2.0>)
(declare-network N (declare-input X Real [1,3]) (declare-output Y Real [1,2]))
"""
SECOND = "(declare-network M {} (declare-input Z real [1,3]) (declare-output U real [1,2]))\n"
INPUTS = f"(assert (and {' '.join(BOX.format('X', i) for i in range(3))}))\n"
SAME = f"(assert (and {' '.join(f'(== X[0,{i}] Z[0,{i}])' for i in range(3))}))\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    write_onnx(tmp_path / "net.onnx", NETWORK)
    return tmp_path


def query(folder: Path, text: str) -> Path:
    (folder / "query.vnnlib").write_text(text)
    return folder / "query.vnnlib"


def test_a_satisfying_assignment_names_each_tensor_and_has_a_number_a_line(certnet: Call, files: Path) -> None:
    text = HEAD + SECOND.format("(equal-to N)") + INPUTS + INPUTS.replace("X", "Z") + "(assert (< Y[0,0] U[0,0]))"
    call = ("verify", query(files, text), "--network", f"N={files / 'net.onnx'}", "--timeout", "20")
    done = certnet(*call)
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "sat"
    heads = {"X Real [1,3]": 3, "Y Real [1,2]": 2, "Z real [1,3]": 3, "U real [1,2]": 2}
    found: dict[str, np.ndarray] = {}
    for head, size in heads.items():
        place = lines.index(head)
        found[head[0]] = np.array([float(line) for line in lines[place + 1 : place + 1 + size]])
    assert len(lines) == 1 + sum(heads.values()) + len(heads)
    for x, y in (("X", "Y"), ("Z", "U")):
        assert ((found[x] >= 0) & (found[x] <= 0.5)).all()
        np.testing.assert_allclose([float(v) for v in exact_outputs(NETWORK, found[x])], found[y], atol=1e-12)
    assert found["Y"][0] < found["U"][0]
    import onnx

    done = certnet(*call, "--serialise-assignments", files / "values")
    assert done.out == "sat\n"
    for name, values in found.items():
        tensor = onnx.load_tensor(files / "values" / f"{name}.pb")
        array = onnx.numpy_helper.to_array(tensor)
        assert (tensor.name, array.dtype) == (name, np.float64)
        np.testing.assert_array_equal(array, values.reshape(1, -1))
    assert certnet(*call, "--json").json["counterexample"]["x"] == [*found["X"].tolist(), *found["Z"].tolist()]


def test_inputs_are_printed_with_digits_that_satisfy_the_text(certnet: Call, files: Path) -> None:
    """The one float64 number of the box is what 0.1 is rounded to, and 0.1 itself lies outside."""
    least, most = "0.1000000000000000055", "0.10000000000000001"
    rest = "".join(f"(assert (and (>= X[0,{i}] 0.0) (<= X[0,{i}] 0.5)))" for i in (1, 2))
    text = HEAD + f"(assert (and (>= X[0,0] {least}) (<= X[0,0] {most}))){rest}(assert (<= Y[0,0] 1000.0))"
    printed = certnet("verify", query(files, text), "--network", f"N={files / 'net.onnx'}").out.splitlines()
    assert printed[:2] == ["sat", "X Real [1,3]"]
    assert Fraction(least) <= Fraction(printed[2]) == Fraction(0.1) <= Fraction(most)
    names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "X_2", "Y_0", "Y_1"))
    same = re.sub(r"([XY])\[0,(\d)\]", r"\1_\2", text.removeprefix(HEAD))
    (files / "one.vnnlib").write_text(names + same)
    first = certnet("verify", files / "net.onnx", files / "one.vnnlib").out.splitlines()[1]
    assert first == f"((X_0 {printed[2]})"


def test_two_networks_are_compared_with_a_certificate_about_both(certnet: Call, files: Path) -> None:
    shifted = type(NETWORK)(NETWORK.hidden, NETWORK.hidden_bias, NETWORK.output, NETWORK.output_bias + 2.0**-6)
    write_onnx(files / "other.onnx", shifted)
    text = HEAD + SECOND.format("") + INPUTS + SAME
    named = ("--network", f"N={files / 'net.onnx'}", "--network", f"M={files / 'other.onnx'}")
    far = query(files, text + "(assert (or (>= (- U[0,0] Y[0,0]) 0.02) (<= U[0,1] Y[0,1])))")
    done = certnet("verify", far, *named, "--certificate", files / "a.cert")
    assert (done.code, done.out) == (0, "unsat\n")
    assert certnet("check", files / "a.cert", *named, "--property", far).code == 0
    swapped = ("--network", f"M={files / 'net.onnx'}", "--network", f"N={files / 'other.onnx'}")
    assert "another network" in certnet("check", files / "a.cert", *swapped, "--property", far).err
    assert "declares them" in certnet("check", files / "a.cert", *named).err
    near = query(files, text + "(assert (>= (- U[0,0] Y[0,0]) 0.0156))")
    assert certnet("verify", near, *named).out.startswith("sat\nX Real [1,3]\n")
    assert "another property" in certnet("check", files / "a.cert", *named, "--property", near).err


def test_a_property_of_several_rows_that_every_point_violates_is_sat(certnet: Call, files: Path) -> None:
    graph = Export(13, (2, 2))
    graph.then("Gemm", np.array([[0, 1], [0, 0]], dtype=np.float32), transB=1).then("Relu")
    graph.then("Gemm", np.eye(2, dtype=np.float32), transB=1)
    box = " ".join(f"(>= X[{i},{j}] 1.0) (<= X[{i},{j}] 2.0)" for i in range(2) for j in range(2))
    head = HEAD.replace("Real", "float32").replace("[1,3]", "[2,2]").replace("[1,2]", "[2,2]")
    text = query(files, f"{head}(assert (and {box}))\n(assert (>= Y[0,0] 0.5))")
    done = certnet("verify", text, "--network", f"N={graph.write(files)}")
    assert (done.code, done.out.split("\n")[0]) == (1, "sat")


def test_a_proof_for_real_numbers_is_none_for_float32(certnet: Call, files: Path) -> None:
    real = query(files, HEAD + INPUTS + "(assert (>= Y[0,0] 1024.0))")
    done = certnet("verify", real, "--network", f"N={files / 'net.onnx'}", "--certificate", files / "a.cert")
    assert done.out == "unsat\n"
    assert certnet("check", files / "a.cert", "--property", real).code == 0
    single = query(files, real.read_text().replace("Real", "float32"))
    assert "about float32" in certnet("check", files / "a.cert", "--property", single).err


def test_without_time_the_word_is_the_one_of_the_version(certnet: Call, files: Path) -> None:
    write_onnx(files / "hard.onnx", HARD)
    sides = zip(SIDES.lower.tolist(), SIDES.upper.tolist(), strict=True)
    box = " ".join(f"(>= X[0,{i}] {low!r}) (<= X[0,{i}] {high!r})" for i, (low, high) in enumerate(sides))
    text = query(files, HEAD + f"(assert (and {box} (<= (- Y[0,0] Y[0,1]) {LEAST - 1e-7!r})))")
    done = certnet("verify", text, "--network", f"N={files / 'hard.onnx'}", "--timeout", "1e-9")
    assert (done.code, done.out) == (3, "timed-out\n")
    assert "time limit" in done.err


def test_a_time_out_while_reading_is_said_in_the_words_of_the_version(
    certnet: Call, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> None:
        raise OutOfTimeError

    monkeypatch.setattr("certnet.cli.query.read_query", late)
    later = query(files, "; of 2.0\n" + HEAD + "(assert (<= Y[0,0] Y[0,1]))")
    old = files / "old.vnnlib"
    old.write_text("; (vnnlib-version <2.0>)\n(declare-const X_0 Real)")
    net = files / "net.onnx"
    for call in ((later, "--network", f"N={net}"), (net, later)):
        done = certnet("verify", *call)
        assert (done.code, done.out) == (3, "timed-out\n")
        assert "reading the files took all of the time limit" in done.err
    assert certnet("verify", net, old).out.splitlines()[0] == "timeout"
    assert certnet("verify", net, files / "absent.vnnlib").out.splitlines()[0] == "timeout"


WRONG = {
    "no network": ((), "a network N without a file; add --network N=FILE"),
    "a network too many": (("N=net.onnx", "K=net.onnx"), "K, which it does not declare"),
    "a network that is equal to another": (("N=net.onnx", "M=net.onnx"), "M, which it calls equal to N"),
    "a network without a name": (("N=net.onnx", "net.onnx"), "must be NAME=FILE"),
    "a network twice": (("N=net.onnx", "N=net.onnx"), "N twice"),
    "a file that is missing": (("N=none.onnx",), "cannot be read"),
    "another size": (("N=small.onnx",), "has [any,2]; declare that"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_files_that_do_not_fit_are_errors(
    certnet: Call, files: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(files)
    write_onnx(files / "small.onnx", type(NETWORK)(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2)))
    names, words = WRONG[wrong]
    text = query(files, HEAD + SECOND.format("(equal-to N)") + INPUTS + INPUTS.replace("X", "Z"))
    done = certnet("verify", text, *(part for name in names for part in ("--network", name)))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("element", ["float64", "float16", "bfloat16"])
def test_types_without_a_guarantee_are_errors(certnet: Call, files: Path, element: str) -> None:
    text = query(files, HEAD.replace("Real", element) + INPUTS + "(assert (<= Y[0,0] 0.0))")
    done = certnet("verify", text, "--network", f"N={files / 'net.onnx'}")
    assert (done.code, done.out) == (2, "")
    assert f"declares {element}" in done.err
    assert element not in certnet("supports", "--onnx-element-types").out


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_function_at_the_end_keeps_the_order_of_outputs(certnet: Call, files: Path, kind: str) -> None:
    import onnx

    model = onnx.load(files / "net.onnx")
    last = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node(kind, [last], ["end"]))
    model.graph.output[0].name = "end"
    onnx.save(model, files / "end.onnx")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(files / "end.onnx"), providers=["CPUExecutionProvider"])
    for sign in ("<", ">"):
        text = query(files, HEAD + INPUTS + f"(assert ({sign} Y[0,0] Y[0,1]))")
        done = certnet("verify", text, "--network", f"N={files / 'end.onnx'}")
        assert done.out.split("\n")[0] == certnet("verify", files / "net.onnx", text).out.split("\n")[0]
        if done.code == 1:
            lines = done.out.splitlines()
            x, y = ([float(line) for line in part] for part in (lines[2:5], lines[6:8]))
            kept = np.array([x], dtype=(session.get_inputs()[0].type == "tensor(double)" and np.float64) or np.float32)
            np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: kept})[0][0], y, atol=1e-5)
    more = query(files, HEAD + INPUTS + "(assert (< (+ Y[0,0] (* 2.0 Y[0,1])) 0.5))")
    done = certnet("verify", more, "--network", f"N={files / 'end.onnx'}")
    assert (done.code, done.out) == (2, "")
    assert "comparisons of two outputs" in done.err


def test_options_that_do_not_go_together(certnet: Call, files: Path) -> None:
    text, named = query(files, HEAD + INPUTS), ("--network", f"N={files / 'net.onnx'}")
    for call, words in (
        ((files / "net.onnx", text, *named), "only argument"),
        ((text, *named, "--radius", "1"), "goes with data"),
        ((text, *named, "--timeout", "1", "--time-limit", "1"), "are the same"),
        ((files / "net.onnx", "iris", "--serialise-assignments", "values"), "goes with a property"),
    ):
        done = certnet("verify", *call)
        assert done.code == 2
        assert words in done.err


def test_every_capability_is_answered_and_no_other(certnet: Call) -> None:
    answers = {name: certnet("supports", name) for name in CAPABILITIES}
    assert {done.code for done in answers.values()} == {0}
    for name in ("--onnx-opset-versions", "--vnnlib-versions"):
        least, most = answers[name].out.split()
        assert [float(part) for part in least.split(".")] <= [float(part) for part in most.split(".")]
    assert "Relu" in answers["--onnx-operators"].out.split()
    assert answers["--serialise-assignments"].out == "true\n"
    assert certnet("supports", "--what").code == 2
