"""``certnet verify`` and ``certnet check`` of what it writes."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from certificates.robustness_file import read_robustness
from certnet.interchange import write_onnx
from formulations.robustness import InputRegion, UnsafeCase
from tests.cli.support import Call
from tests.verification.problems import exact_least_margin, random_box, random_network

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
    assert checked.out.startswith("verdict      PROVED")
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
    "no numbers": (("nan.npz", "safe.vnnlib"), "has nan"),
    "no network": (("none.npz", "safe.vnnlib"), "cannot be read"),
    "data without a norm": (("net.npz", "iris"), "--norm"),
    "a property with a norm": (("net.npz", "safe.vnnlib", "--norm", "l2"), "goes with data"),
    "a negative radius": (("net.npz", "data.npz", "--norm", "l2", "--radius", "-1"), "radius"),
    "rows that are not there": (("net.npz", "data.npz", "--norm", "l2", "--radius", "1", "--rows", "7"), "rows 0 to"),
    "other data": (("net.npz", "iris", "--norm", "l2", "--radius", "1"), "4 features"),
    "a time that is none": (("net.npz", "safe.vnnlib", "--time-limit", "-3"), "--time-limit"),
    "a norm that is none": (("net.npz", "safe.vnnlib", "--norm", "l7"), "--norm"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_one_sentence(certnet: Call, files: Path, wrong: str) -> None:
    (files / "bad.vnnlib").write_text(text(1.0) + "(assert (<= Y_7 0))")
    np.savez(files / "small.npz", W1=np.ones((2, 2)), W2=np.ones((2, 2)))
    np.savez(files / "nan.npz", W1=np.full((2, 3), np.nan), W2=np.ones((2, 2)))
    np.savez(files / "data.npz", X=np.ones((4, 3)), Y=np.eye(2)[[0, 1, 0, 1]])
    words, expected = WRONG[wrong]
    paths = [files / word if Path(word).suffix in (".npz", ".vnnlib") else word for word in words]
    done = certnet("verify", *paths)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.err
    assert done.err.count("\n") == 1


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
    assert done.json["verdict"] is None
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
    certificate = read_robustness(tmp_path / "proofs/row-0.cert")
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
    lines = [
        "(vnnlib-version <2.0>) (declare-network f (declare-input X float64 [1,3]) (declare-output Y float64 [2]))"
    ]
    for i, (low, high) in enumerate(zip(BOX.lower.tolist(), BOX.upper.tolist(), strict=True)):
        lines += [f"(assert (>= X[0,{i}] {low!r}))", f"(assert (<= X[0,{i}] {high!r}))"]
    for name, margin, code in (("safe", 0.4, 0), ("unsafe", -0.4, 1)):
        stated = "\n".join([*lines, f"(assert (<= (- Y[0] Y[1]) {LEAST - margin!r}))"])
        packed = {"net.onnx.gz": (tmp_path / "net.onnx").read_bytes(), f"{name}.vnnlib.gz": stated.encode()}
        for file, content in packed.items():
            (tmp_path / file).write_bytes(gzip.compress(content))
        (tmp_path / f"{name}.vnnlib").write_text(text(margin))
        done = certnet("verify", *(tmp_path / file for file in packed), "--certificate", tmp_path / "a.cert")
        assert done.code == code
        assert done.out == certnet("verify", tmp_path / "net.onnx", tmp_path / f"{name}.vnnlib").out
    for file in ("safe.vnnlib", "safe.vnnlib.gz"):
        assert certnet("check", tmp_path / "a.cert", "--property", tmp_path / file).code == 0
