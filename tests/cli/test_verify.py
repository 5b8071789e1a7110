"""``certnet verify`` and ``certnet check`` of what it writes."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from certificates import Certificate, read_certificate
from certnet.io import write_onnx
from certnet.io.network import TwoLayerNetwork
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.cli.support import Call
from tests.cli.test_messages import OPTION, options
from tests.verification.problems import exact_least_margin, random_box, random_network
from tests.verification.test_float32 import GEMM, SPLIT, exported, proved

NETWORK, BOX = random_network(6, width=8), random_box(6)
LEAST = exact_least_margin(NETWORK, UnsafeCase(BOX, np.array([[1.0, -1.0]]), np.zeros(1)))


def text(margin: float) -> str:
    """The property whose least margin this is."""
    lines = [f"(declare-const X_{i} Real)" for i in range(3)] + [f"(declare-const Y_{j} Real)" for j in range(2)]
    for i, (low, high) in enumerate(zip(BOX.lower.tolist(), BOX.upper.tolist(), strict=True)):
        lines += [f"(assert (>= X_{i} {low!r}))", f"(assert (<= X_{i} {high!r}))"]
    return "\n".join([*lines, f"(assert (<= (- Y_0 Y_1) {LEAST - margin!r}))"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    n = NETWORK
    np.savez(tmp_path / "net.npz", W1=n.hidden, b1=n.hidden_bias, W2=n.output, b2=n.output_bias)
    (tmp_path / "safe.vnnlib").write_text(text(0.4))
    (tmp_path / "unsafe.vnnlib").write_text(text(-0.4))
    return tmp_path


def test_unsat_comes_with_a_certificate_that_check_proves(certnet: Call, files: Path) -> None:
    done = certnet("verify", files / "net.npz", files / "safe.vnnlib", "--certificate", files / "a.cert")
    assert done.code == 0
    assert done.out.splitlines()[0] == "unsat"
    checked = certnet("check", files / "a.cert", "--network", files / "net.npz", "--property", files / "safe.vnnlib")
    assert checked.code == 0
    assert checked.out.splitlines()[1] == "verdict      PROVED"
    report = certnet("check", files / "a.cert", "--arithmetic", "exact", "--json").json
    assert report["verdict"] == "PROVED"
    assert 0 < report["margin"] <= 0.4
    other = certnet("check", files / "a.cert", "--property", files / "unsafe.vnnlib")
    assert other.code == 2
    assert "another property" in other.err
    assert certnet("check", files / "a.cert", "--data", "iris").code == 2
    both = certnet("check", files / "a.cert", files / "a.cert")
    assert both.code == 0
    assert both.out.count("PROVED") == 2


def test_sat_comes_with_the_counterexample(certnet: Call, files: Path) -> None:
    done = certnet("verify", files / "net.npz", files / "unsafe.vnnlib", "--certificate", files / "b.cert")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "sat"
    assert [line.strip("()").split()[0] for line in lines[1:]] == ["X_0", "X_1", "X_2", "Y_0", "Y_1"]
    x = np.array([float(line.strip("()").split()[1]) for line in lines[1:4]])
    assert BOX.contains(x)
    y = NETWORK(x[None])[0]
    assert y[0] - y[1] <= LEAST + 0.4 + 1e-9
    assert not (files / "b.cert").exists()
    report = certnet("verify", files / "net.npz", files / "unsafe.vnnlib", "--json").json
    assert report["result"] == "sat"
    assert report["counterexample"]["x"] == x.tolist()


def test_no_time_is_a_timeout_and_not_a_verdict(certnet: Call, files: Path) -> None:
    (files / "hard.vnnlib").write_text(text(1e-7))
    done = certnet("verify", files / "net.npz", files / "hard.vnnlib", "--time-limit", "1e-9")
    assert done.code == 3
    assert done.out.splitlines()[0] == "timeout"


def test_rows_of_data_keep_their_class(certnet: Call, files: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 3))
    labels = NETWORK(X).argmax(axis=1)
    labels[5] = 1 - labels[5]
    np.savez(files / "data.npz", X=X, Y=np.eye(2)[labels])
    for norm in ("linf", "l2"):
        done = certnet("verify", files / "net.npz", files / "data.npz", "--norm", norm, "--radius", "1e-6",
                    "--certificate", files / norm, "--json")  # fmt: skip
        assert done.code == 1
        assert done.json["counts"] == {"unsat": 5, "sat": 0, "unknown": 0, "timeout": 0, "misclassified": 1}
        certificates = sorted((files / norm).iterdir())
        assert len(certificates) == 5
        assert certnet("check", *certificates).code == 0
    wide = certnet("verify", files / "net.npz", files / "data.npz", "--norm", "linf", "--radius", "9", "--rows", "0:3")
    assert wide.out.splitlines()[:3] == ["0 sat", "1 sat", "2 sat"]


WRONG = {
    "no such output": (("net.npz", "bad.vnnlib"), "Y_7 is not declared"),
    "another network": (("small.npz", "safe.vnnlib"), "declares 3 inputs"),
    "no numbers": (("nan.npz", "safe.vnnlib"), "not a finite number"),
    "no network": (("none.npz", "safe.vnnlib"), "cannot be read"),
    "data without a norm": (("net.npz", "iris"), "--norm"),
    "a property with a norm": (("net.npz", "safe.vnnlib", "--norm", "l2"), "goes with data"),
    "a negative radius": (("net.npz", "data.npz", "--norm", "l2", "--radius", "-1"), "radius"),
    "rows that are not there": (("net.npz", "data.npz", "--norm", "l2", "--radius", "1", "--rows", "7"), "rows 0 to"),
    "other data": (("net.npz", "iris", "--norm", "l2", "--radius", "1"), "4 features"),
    "a time that is none": (("net.npz", "safe.vnnlib", "--time-limit", "-3"), "--time-limit"),
    "targets that are no classes": (("net.npz", "reals.npz", "--norm", "l2", "--radius", "1"), "no one-hot matrix"),
    "numbers that are no classes": (("net.npz", "real.npz", "--norm", "l2", "--radius", "1"), "label '0.25'"),
    "a label of no output": (("net.npz", "odd.npz", "--norm", "l2", "--radius", "1"), "label '2'"),
    "a name of no output": (("named.npz", "odd.npz", "--norm", "l2", "--radius", "1"), "they are no, yes"),
    "names for too few outputs": (("net.npz", "one.csv", "--norm", "l2", "--radius", "1"), "without names"),
    "a norm that is none": (("net.npz", "safe.vnnlib", "--norm", "l7"), "--norm"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_one_sentence(certnet: Call, files: Path, wrong: str) -> None:
    (files / "bad.vnnlib").write_text(text(1.0) + "(assert (<= Y_7 0))")
    np.savez(files / "small.npz", W1=np.ones((2, 2)), W2=np.ones((2, 2)))
    np.savez(files / "nan.npz", W1=np.full((2, 3), np.nan), W2=np.ones((2, 2)))
    np.savez(files / "data.npz", X=np.ones((4, 3)), Y=np.eye(2)[[0, 1, 0, 1]])
    np.savez(files / "reals.npz", X=np.ones((4, 3)), Y=np.linspace(0, 1, 8).reshape(4, 2))
    np.savez(files / "real.npz", X=np.ones((4, 3)), Y=np.array([0.0, 1.0, 0.5, 0.25]))
    np.savez(files / "odd.npz", X=np.ones((2, 3)), Y=np.array([0, 2]))
    TwoLayerNetwork(ReluNetwork.of_program(np.ones((3, 1)), np.ones((2, 1))), classes=("no", "yes")).save(
        files / "named.npz"
    )
    (files / "one.csv").write_text("a,b,c,label\n1,2,3,yes\n")
    words, expected = WRONG[wrong]
    paths = [files / word if Path(word).suffix in (".npz", ".vnnlib", ".csv") else word for word in words]
    done = certnet("verify", *paths)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert set(OPTION.findall(done.err)) <= options("verify")


def test_rows_of_few_classes_by_number_and_by_name(certnet: Call, tmp_path: Path) -> None:
    """f = x: the label is kept within half the lead of its coordinate."""
    np.savez(tmp_path / "net.npz", W1=np.eye(3), W2=np.eye(3))
    TwoLayerNetwork(ReluNetwork.of_program(np.eye(3), np.eye(3)), classes=("low", "mid", "top")).save(
        tmp_path / "named.npz"
    )
    X = np.array([[0.1, 1.0, 0.2], [0.1, 0.2, 1.0]])
    np.savez(tmp_path / "one.npz", X=X[:1], Y=np.array([1]))
    np.savez(tmp_path / "two.npz", X=X, Y=np.array([1, 2]))
    (tmp_path / "two.csv").write_text("a,b,c,label\n.1,1,.2,mid\n.1,.2,1,top\n")
    call = ("--norm", "linf", "--radius", "0.3", "--json")
    for network, data, labels in (
        ("net.npz", "one.npz", [1]),
        ("net.npz", "two.npz", [1, 2]),
        ("named.npz", "two.csv", [1, 2]),
    ):
        done = certnet("verify", tmp_path / network, tmp_path / data, *call)
        assert done.code == 0
        assert [(row["label"], row["result"]) for row in done.json["results"]] == [(label, "unsat") for label in labels]
    np.savez(tmp_path / "test.npz", X_train=np.eye(3), Y_train=np.arange(3), X_test=X, Y_test=np.array([1, 5]))
    done = certnet("verify", tmp_path / "net.npz", tmp_path / "test.npz", *call)
    assert done.code == 2
    assert "Y_test has the label '5', which no output" in done.json["reason"]
    # A constant around a row has nothing to do with its label.
    np.savez(tmp_path / "test.npz", X_train=np.eye(6)[:, :3], Y_train=np.arange(6) % 3, X_test=X, Y_test=[1, 5])
    assert certnet("lipschitz", tmp_path / "net.npz", "--local", tmp_path / "test.npz", "--radius", "0.1").code == 0
    (tmp_path / "any.csv").write_text("a,b,c,label\n.1,1,.2,7.25\n")
    assert certnet("lipschitz", tmp_path / "net.npz", "--local", tmp_path / "any.csv", "--radius", "0.1").code == 0


def test_a_tie_is_misclassified_and_rounding_decides_no_class(certnet: Call, tmp_path: Path) -> None:
    """In exact arithmetic f(1) = (1, ½), though 1e16 + 1 rounds to 1e16; and f(½) is a tie."""
    np.savez(tmp_path / "net.npz", U=np.ones((1, 1)), V=np.array([[1.0], [0.0]]), b=np.array([1e16]),
             output_bias=np.array([-1e16, 0.5]))  # fmt: skip
    np.savez(tmp_path / "data.npz", X=np.array([[1.0], [1.0], [0.5], [0.5]]), Y=np.array([0, 1, 0, 1]))
    call = ("verify", tmp_path / "net.npz", tmp_path / "data.npz", "--norm", "linf", "--radius", "0", "--json")
    results = [row["result"] for row in certnet(*call).json["results"]]
    assert results[0] not in ("misclassified", "sat")
    assert results[1:] == ["misclassified"] * 3


def test_contradictory_bounds_and_an_empty_disjunction_are_unsat(certnet: Call, files: Path) -> None:
    for assertion in (
        "(assert (>= X_0 1e9))",
        "(assert (or))",
        "(assert (<= 1 0))",
        "(assert (or (= 1 2) (>= X_1 1e9)))",
    ):
        (files / "none.vnnlib").write_text(text(-0.4) + assertion)
        done = certnet("verify", files / "net.npz", files / "none.vnnlib", "--certificate", files / "none.cert")
        assert done.code == 0
        assert done.out.splitlines()[0] == "unsat"
        # That nothing is asked is proved too, of the network and for the file.
        same = ("--network", files / "net.npz", "--property", files / "none.vnnlib")
        assert certnet("check", files / "none.cert", *same).code == 0
        assert certnet("check", files / "none.cert", "--property", files / "unsafe.vnnlib").code == 2


def test_a_network_that_was_rounded_says_so(certnet: Call, files: Path) -> None:
    n = NETWORK
    arrays = {"U": n.hidden.T, "V": n.output, "b": n.hidden_bias, "output_bias": n.output_bias}
    (files / "easy.vnnlib").write_text(text(9.0))
    for scale, words in ((np.full(3, 2.0), 0), (np.full(3, 3.0), 1)):
        np.savez(files / "scaled.npz", **arrays, scale=scale)
        done = certnet("verify", files / "scaled.npz", files / "easy.vnnlib", "--json")
        assert len(done.json["notes"]) == words
        assert ("may round" in done.err) == bool(words)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_largest_radius_of_a_linear_classifier_is_known(certnet: Call, tmp_path: Path, norm: str) -> None:
    """f = (q·x, -q·x): the class is kept exactly within |q·x| over the dual norm of q."""
    q = np.array([3.0, -4.0])
    np.savez(tmp_path / "net.npz", W1=np.vstack([q, -q]), W2=np.array([[1.0, -1.0], [-1.0, 1.0]]))
    X = np.array([[1.0, 0.0], [0.0, 0.5], [1.0, 1.0], [40.0, 0.0]])
    labels = (X @ q < 0).astype(int)
    labels[2] = 1 - labels[2]
    np.savez(tmp_path / "data.npz", X=X, Y=np.eye(2)[labels])
    true = np.abs(X @ q) / (7.0 if norm == "linf" else 5.0)
    call = ("verify", tmp_path / "net.npz", tmp_path / "data.npz", "--norm", norm, "--largest-radius", "2",
            "--certificate", tmp_path / "proofs")  # fmt: skip
    done = certnet(*call, "--json")
    assert done.code == 0
    assert done.json["verdict"] == "PROVED"
    rows = done.json["results"]
    for k in (0, 1):
        low, high = rows[k]["certified_radius"], rows[k]["attacked_radius"]
        assert true[k] * (1 - 2e-3) <= low <= true[k] * (1 + 1e-9)
        assert true[k] * (1 - 1e-9) <= high <= low * (1 + 2e-3)
        x = np.array(rows[k]["counterexample"]["x"])
        assert np.linalg.norm(x - X[k], ord=np.inf if norm == "linf" else 2) <= high
    assert (rows[2]["result"], rows[2]["certified_radius"], rows[2]["attacked_radius"]) == ("misclassified", 0.0, 0.0)
    assert (rows[3]["certified_radius"], rows[3]["attacked_radius"]) == (2.0, None)
    assert sorted(path.name for path in (tmp_path / "proofs").iterdir()) == ["row-0.cert", "row-1.cert", "row-3.cert"]
    assert certnet("check", *sorted((tmp_path / "proofs").iterdir()), "--network", tmp_path / "net.npz").code == 0
    certificate = read_certificate(tmp_path / "proofs/row-0.cert")
    assert certificate.provenance["radius"] == rows[0]["certified_radius"]
    regions = [case.region for case in certificate.cases]
    make = InputRegion.linf if norm == "linf" else InputRegion.l2
    wanted = make(X[0], rows[0]["certified_radius"])
    assert all((region.lower <= wanted.lower).all() and (wanted.upper <= region.upper).all() for region in regions)
    lines = certnet(*call).out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["0", "1", "2", "3"]
    shown = lines[0].split()
    assert shown[1] == "certified"
    assert shown[6] == "attacked"
    assert float(shown[2]) <= rows[0]["certified_radius"] <= rows[0]["attacked_radius"] <= float(shown[7])
    assert lines[3].split()[1:] == ["certified", "2", "<=", "true"]


def test_a_search_without_time_is_open(certnet: Call, files: Path) -> None:
    label = int(NETWORK(np.ones((1, 3))).argmax())
    np.savez(files / "data.npz", X=np.ones((2, 3)), Y=np.eye(2)[[label, 1 - label]])
    done = certnet("verify", files / "net.npz", files / "data.npz", "--norm", "l2", "--largest-radius", "1",
                   "--time-limit", "1e-9", "--certificate", files / "proofs")  # fmt: skip
    assert done.code == 3
    assert done.out.splitlines()[0].endswith("open")
    assert list((files / "proofs").iterdir()) == []


def test_a_packed_graph_and_a_packed_property_of_version_2(certnet: Call, tmp_path: Path) -> None:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    write_onnx(tmp_path / "net.onnx", NETWORK)
    lines = ["(vnnlib-version <2.0>) (declare-network f (declare-input X Real [1,3]) (declare-output Y real [1,2]))"]
    for i, (low, high) in enumerate(zip(BOX.lower.tolist(), BOX.upper.tolist(), strict=True)):
        lines += [f"(assert (>= X[0,{i}] {low!r}))", f"(assert (<= X[0,{i}] {high!r}))"]
    for name, margin, code in (("safe", 0.4, 0), ("unsafe", -0.4, 1)):
        stated = "\n".join([*lines, f"(assert (<= (- Y[0,0] Y[0,1]) {LEAST - margin!r}))"])
        packed = {"net.onnx.gz": (tmp_path / "net.onnx").read_bytes(), f"{name}.vnnlib.gz": stated.encode()}
        for file, content in packed.items():
            (tmp_path / file).write_bytes(gzip.compress(content))
        (tmp_path / f"{name}.vnnlib").write_text(text(margin))
        done = certnet("verify", *(tmp_path / file for file in packed), "--certificate", tmp_path / "a.cert")
        assert done.code == code
        plain = certnet("verify", tmp_path / "net.onnx", tmp_path / f"{name}.vnnlib").out.splitlines()
        answer = done.out.splitlines()
        assert answer[0] == plain[0]
        if code:
            assert (answer[1], answer[5]) == ("X Real [1,3]", "Y real [1,2]")
            numbers = [float(line.strip("()").split()[-1]) for line in plain[1:]]
            assert [float(line) for line in [*answer[2:5], *answer[6:]]] == numbers
    for file in ("safe.vnnlib", "safe.vnnlib.gz"):
        assert certnet("check", tmp_path / "a.cert", "--property", tmp_path / file).code == 0


def test_rows_share_the_time_and_those_not_reached_are_said(certnet: Call, files: Path) -> None:
    label = int(NETWORK(np.ones((1, 3))).argmax())
    np.savez(files / "data.npz", X=np.ones((3, 3)), Y=np.eye(2)[[label, label, 1 - label]])
    arguments = ("verify", files / "net.npz", files / "data.npz", "--norm", "linf", "--radius", "0.001", "--json")
    late = certnet(*arguments, "--time-limit", "1e-9")
    assert late.code == 3
    assert [row["result"] for row in late.json["results"]] == ["timeout"] * 3
    assert all("before this row" in row["reason"] for row in late.json["results"])
    early = certnet(*arguments, "--time-limit", "60", "--input-limit", "30")
    assert [row["result"] for row in early.json["results"]] == ["unsat", "unsat", "misclassified"]


def test_the_command_says_how_float32_differs(certnet: Call, tmp_path: Path) -> None:
    base, net = proved(), exported(tmp_path, SPLIT)
    region = base.cases[0].region
    lines = [f"(declare-const X_{i} Real)\n(declare-const Y_{i} Real)" for i in range(3)]
    for i, (low, high) in enumerate(zip(region.lower.tolist(), region.upper.tolist(), strict=True)):
        lines.append(f"(assert (>= X_{i} {low!r}))\n(assert (<= X_{i} {high!r}))")
    lost = f"(<= (- Y_0 Y_1) {exact_difference(base):.9f})"
    (tmp_path / "p.vnnlib").write_text("\n".join([*lines, f"(assert {lost})"]))
    plain = certnet("verify", net, tmp_path / "p.vnnlib", "--json")
    options = ("--semantics", "float32", "--certificate", tmp_path / "a.cert", "--json")
    found = certnet("verify", net, tmp_path / "p.vnnlib", *options)
    assert plain.code == found.code == 0
    assert plain.json["lower_bound"] >= found.json["lower_bound"] + 0.9 * found.json["rounding"] > 0
    checked = certnet("check", tmp_path / "a.cert", "--network", net, "--property", tmp_path / "p.vnnlib")
    assert checked.code == 0
    assert "every evaluation in float32" in checked.out
    other = exported(tmp_path, ["Sub", *GEMM])
    assert certnet("check", tmp_path / "a.cert", "--network", other).code == 0
    np.savez(tmp_path / "net.npz", U=base.network.hidden.T / 3, V=base.network.output, b=base.network.hidden_bias)
    refused = certnet("verify", tmp_path / "net.npz", tmp_path / "p.vnnlib", "--semantics", "float32")
    assert refused.code == 2
    assert "no float32 number" in refused.err


def exact_difference(base: Certificate) -> float:
    """A little less than the least difference of the first two outputs on the region."""
    case = UnsafeCase(base.cases[0].region, np.array([[1.0, -1.0, 0.0]]), np.zeros(1))
    return exact_least_margin(base.network, case) - 1e-3


def test_what_bounds_decide_needs_neither_solvers_nor_readers_of_data_nor_rich(files: Path) -> None:
    """Start-up is most of the time that a small box takes."""
    (files / "far.vnnlib").write_text(text(100.0))
    program = (
        "import sys; from certnet.cli import main; code = main(sys.argv[1:]); print(*sorted(sys.modules)); exit(code)"
    )
    command = [sys.executable, "-c", program, "verify", files / "net.npz", files / "far.vnnlib"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "certnet.jobs.verify" in loaded
    heavy = (
        "scipy",
        "rich",
        "typer",
        "pydantic",
        "importlib.metadata",
        "subprocess",
        "joblib",
        "certnet.solvers",
        "certnet.io.load_data",
        "formulations.losses",
        "numpy.random",
        "numpy.ma",
        "flint",
        "certificates.container",
    )
    assert [name for name in heavy if name in loaded] == []
    write_onnx(files / "net.onnx", NETWORK)
    command[4] = files / "net.onnx"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "onnx.onnx_ml_pb2" in loaded
    assert [name for name in (*heavy, "onnx", "onnx.helper") if name in loaded] == []


def test_splits_of_another_verifier_are_completed_or_refused(certnet: Call, files: Path) -> None:
    tree = {"format": "certnet-split-tree", "version": 1, "cases": [[[[2, 1]], [[2, -1], [5, 1]], [[2, -1], [5, -1]]]]}
    (files / "t.json").write_text(json.dumps(tree))
    call = ("verify", files / "net.npz", files / "safe.vnnlib", "--tree", files / "t.json")
    done = certnet(*call, "--certificate", files / "a.cert")
    assert done.out.splitlines()[0] == "unsat"
    assert certnet("check", files / "a.cert", "--property", files / "safe.vnnlib").code == 0
    assert certnet("verify", files / "net.npz", files / "unsafe.vnnlib", "--tree", files / "t.json").code == 1
    (files / "t.json").write_text(json.dumps({**tree, "cases": [[[[2, 1]]]]}))
    done = certnet(*call)
    assert done.code == 2
    assert "no leaf where neuron 2 is inactive" in done.err
