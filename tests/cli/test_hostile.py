"""Wrong and hostile input to the commands about networks: one sentence on stderr, exit code 2, and nothing written."""

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.support import caller, files, one_sentence
from tests.interchange.test_arrays import write_safetensors
from tests.verification.problems import random_network

NETWORK = random_network(6, width=4)
VARIABLES = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "X_2", "Y_0", "Y_1"))
BOX = "".join(f"(assert (>= X_{i} 0))(assert (<= X_{i} 1e-9))" for i in range(3))
SAFE = VARIABLES + BOX + "(assert (<= Y_0 -1e9))"


def _npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{name: np.asarray(array) for name, array in arrays.items()})
    return stream.getvalue()


def _layers(**changes: object) -> bytes:
    n = NETWORK
    return _npz(**{"W1": n.hidden, "b1": n.hidden_bias, "W2": n.output, "b2": n.output_bias, **changes})


def _bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W1.npy", b"\x00" * 1_000_000)
    return stream.getvalue()


NAN, INFINITE = np.full((4, 3), np.nan), np.full((2, 4), np.inf)
LABELS = np.eye(2)[[0, 1, 0, 1]]

CONTENT: dict[str, Callable[[], bytes]] = {
    "net.npz": _layers,
    "safe.vnnlib": lambda: SAFE.encode(),
    "data.npz": lambda: _npz(X=np.ones((4, 3)), Y=LABELS),
    # Networks
    "empty.npz": bytes,
    "empty.onnx": bytes,
    "empty.safetensors": bytes,
    "empty.onnx.gz": bytes,
    "noise.npz": lambda: b"PK\x03\x04" + bytes(range(256)),
    "noise.onnx": lambda: bytes(range(256)) * 4,
    "noise.safetensors": lambda: b"\xff" * 99,
    "plain.onnx.gz": lambda: b"no gzip",
    "cut.onnx.gz": lambda: gzip.compress(b"x" * 999)[:20],
    "net.npz.gz": lambda: gzip.compress(_layers()),
    "net.h5": lambda: b"\x89HDF",
    "net.pt": lambda: pickle.dumps([1]),
    "net.pt.gz": lambda: gzip.compress(pickle.dumps([1])),
    "nan.npz": lambda: _layers(W1=NAN),
    "infinite.npz": lambda: _layers(W2=INFINITE),
    "shapes.npz": lambda: _layers(W2=np.ones((2, 5))),
    "words.npz": lambda: _layers(b1=["a"] * 4),
    "complex.npz": lambda: _layers(b1=np.ones(4) * 1j),
    "objects.npz": lambda: _npz(W1=np.array([None], dtype=object), W2=np.ones((2, 4))),
    "deep.npz": lambda: _layers(W3=np.ones((2, 2))),
    "other.npz": lambda: _npz(W1=np.ones((2, 2)), W2=np.ones((2, 2))),
    "bomb.npz": _bomb,
    # Properties
    "empty.vnnlib": bytes,
    "latin.vnnlib": lambda: SAFE.encode() + b"; \xe9",
    "binary.vnnlib": lambda: bytes(range(256)),
    "plain.vnnlib.gz": lambda: SAFE.encode(),
    "cut.vnnlib.gz": lambda: gzip.compress(SAFE.encode())[:-12],
    "deep.vnnlib": lambda: (VARIABLES + BOX + "(assert " + "(and " * 100_000).encode(),
    "deep2.vnnlib": lambda: b"(vnnlib-version <2.0>)" + b"(" * 100_000,
    "huge.vnnlib": lambda: SAFE.replace("-1e9", "1e400").encode(),
    "sum.vnnlib": lambda: SAFE.replace("-1e9", "(+ 1e308 1e308)").encode(),
    "exponent.vnnlib": lambda: SAFE.replace("-1e9", "1e99999999999").encode(),
    "nan.vnnlib": lambda: SAFE.replace("-1e9", "nan").encode(),
    "unbounded.vnnlib": lambda: SAFE.replace("(assert (<= X_1 1e-9))", "").encode(),
    "nowhere.vnnlib": lambda: (SAFE + "(assert (<= Y_2 0))").encode(),
    "twice.vnnlib": lambda: (VARIABLES + SAFE).encode(),
    "product.vnnlib": lambda: (SAFE + "(assert (<= (* Y_0 Y_1) 0))").encode(),
    "unclosed.vnnlib": lambda: SAFE.encode()[:-1],
    "closed.vnnlib": lambda: SAFE.encode() + b")",
    "nothing.vnnlib": lambda: VARIABLES.encode(),
    "script.vnnlib": lambda: b"import os",
    "many.vnnlib": lambda: (SAFE + "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 30).encode(),
    "cases.vnnlib": lambda: (SAFE + "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 8).encode(),
    "wide.vnnlib": lambda: SAFE.replace("Y_1 Real", "Y_99999999999 Real").encode(),
    "small.vnnlib": lambda: SAFE.replace("(declare-const Y_1 Real)", "").encode(),
    # Data
    "nan_data.npz": lambda: _npz(X=np.full((4, 3), np.nan), Y=LABELS),
    "wide_data.npz": lambda: _npz(X=np.ones((4, 9)), Y=LABELS),
    "three.npz": lambda: _npz(X=np.ones((4, 3)), Y=np.eye(3)[[0, 1, 2, 0]]),
    "unlabelled.npz": lambda: _npz(X=np.ones((4, 3))),
    "no_rows.npz": lambda: _npz(X=np.ones((0, 3)), Y=np.ones((0, 2))),
    "longer.npz": lambda: _npz(X=np.ones((4, 3)), Y=np.eye(2)),
    "data.csv": lambda: b"",
    # Certificates
    "empty.cert": bytes,
    "noise.cert": lambda: bytes(range(256)),
    "zip.cert": lambda: _npz(W1=np.ones((2, 2))),
    "text.cert": lambda: b"unsat",
}
FINE = ("safe.vnnlib", "cases.vnnlib")
"""Properties that are right."""
NETWORKS = [
    "absent.npz", "absent.onnx", "absent.safetensors", "folder.npz", "folder.onnx", "net", "net.h5", "net.pt",
    "net.pt.gz", "net.npz.gz", "empty.npz", "empty.onnx", "empty.safetensors", "empty.onnx.gz", "noise.npz",
    "noise.onnx", "noise.safetensors", "nan.safetensors", "plain.onnx.gz", "cut.onnx.gz", "nan.npz", "infinite.npz",
    "shapes.npz", "words.npz", "complex.npz", "objects.npz", "deep.npz", "bomb.npz", "",
]  # fmt: skip
PROPERTIES = [
    "absent.vnnlib", "folder.vnnlib", *(name for name in CONTENT if ".vnnlib" in name and name not in FINE),
]  # fmt: skip
CASES: dict[str, list[str]] = {
    **{f"verify {name}": ["verify", name, "safe.vnnlib"] for name in NETWORKS},
    **{f"lipschitz {name}": ["lipschitz", name] for name in NETWORKS},
    **{
        f"audit {name}": ["audit", name, "data.npz", "--norm", "linf", "--radii", "0.1", "--part", "all"]
        for name in NETWORKS
    },
    **{f"property {name}": ["verify", "net.npz", name] for name in PROPERTIES},
    **{
        f"data {name} {command[0]}": [command[0], "net.npz", name, "--norm", "l2", *command[1:]]
        for name in ("absent.csv", "folder.npz", "data.csv", *(name for name in CONTENT if "data" in name[1:]),
                     "three.npz", "unlabelled.npz", "no_rows.npz", "longer.npz", "noise.npz", "")
        for command in (("verify", "--radius", "0.1"), ("audit", "--radii", "0.1", "--part", "all"))
    },
    **{
        f"radius {radius}": ["verify", "net.npz", "data.npz", "--norm", "linf", f"--radius={radius}"]
        for radius in ("-1", "nan", "inf", "1e400", "x", "0,1", "")
    },
    **{
        f"radii {radii}": ["audit", "net.npz", "data.npz", "--norm", "linf", f"--radii={radii}", "--part", "all"]
        for radii in ("-1", "0", "nan", "inf", "1e400", "x", "0.1,0.1", "0.1;0.2", "", ",")
    },
    **{
        f"rows {rows}": ["verify", "net.npz", "data.npz", "--norm", "linf", "--radius=1", f"--rows={rows}"]
        for rows in ("4", "-1", "2:2", "3:1", "0:9", "x", "1:2:3", "9" * 5000)
    },
    **{
        f"{command} {option}": [command, "net.npz", *rest, option]
        for command, rest in (
            ("verify", ["safe.vnnlib"]),
            ("lipschitz", []),
            ("audit", ["data.npz", "--norm", "l2", "--radii", "1", "--part", "all"]),
        )
        for option in ("--seed=-1", "--seed=x", "--time-limit=-1", "--time-limit=nan", "--time-limit=inf", "--nonsense")
    },
    "no network": ["verify"],
    "no property": ["verify", "net.npz"],
    "no norm": ["verify", "net.npz", "data.npz", "--radius", "1"],
    "no radius": ["verify", "net.npz", "data.npz", "--norm", "l2"],
    "a largest radius that is none": ["verify", "net.npz", "data.npz", "--norm", "l2", "--largest-radius", "-1"],
    "a largest radius that is no number": ["verify", "net.npz", "data.npz", "--norm", "l2", "--largest-radius", "nan"],
    "two radii": ["verify", "net.npz", "data.npz", "--norm", "l2", "--largest-radius", "1", "--radius", "1"],
    "a largest radius of a property": ["verify", "net.npz", "safe.vnnlib", "--largest-radius", "1"],
    "more cases than a certificate holds": ["verify", "net.npz", "cases.vnnlib", "--certificate", "a.cert"],
    "another norm": ["verify", "net.npz", "data.npz", "--norm", "l1", "--radius", "1"],
    "a radius for a property": ["verify", "net.npz", "safe.vnnlib", "--radius", "1"],
    "rows of a property": ["verify", "net.npz", "safe.vnnlib", "--rows", "1"],
    "a target of a property": ["verify", "net.npz", "safe.vnnlib", "--target", "y"],
    "a property of another network": ["verify", "other.npz", "safe.vnnlib"],
    "a certificate in no folder": ["verify", "net.npz", "safe.vnnlib", "--certificate", "none/a.cert"],
    "a certificate that is a folder": ["verify", "net.npz", "safe.vnnlib", "--certificate", "folder.npz"],
    "a certificate without a name": ["verify", "net.npz", "safe.vnnlib", "--certificate", ""],
    "certificates in a file": [
        "verify", "net.npz", "data.npz", "--norm", "l2", "--radius", "1", "--certificate", "net.npz",
    ],
    "proofs in a file": [
        "audit", "net.npz", "data.npz", "--norm", "l2", "--radii", "1", "--part", "all", "--certificates", "net.npz",
    ],
    "results in a file": [
        "audit", "net.npz", "data.npz", "--norm", "l2", "--radii", "1", "--part", "all", "--out", "net.npz",
    ],
    "no scheduler": [
        "audit", "net.npz", "data.npz", "--norm", "l2", "--radii", "1", "--part", "all", "--scheduler", "nonsense://x",
    ],
    "no such part": ["audit", "net.npz", "data.npz", "--norm", "l2", "--radii", "1", "--part", "some"],
    "an output that is not there": ["lipschitz", "net.npz", "--output", "2"],
    "an output before the first": ["lipschitz", "net.npz", "--output", "-1"],
    "a pair that is none": ["lipschitz", "net.npz", "--pair", "0,0"],
    "a pair of words": ["lipschitz", "net.npz", "--pair", "a,b"],
    "a pair of one": ["lipschitz", "net.npz", "--pair", "1"],
    **{f"check {name}": ["check", name] for name in ("absent.cert", "folder.npz", "net.npz", "safe.vnnlib", "")},
    **{f"check {name}": ["check", name] for name in CONTENT if name.endswith(".cert")},
    "check nothing": ["check"],
    "check without a time": ["check", "empty.cert", "--time-limit", "-1"],
    "check by words": ["check", "empty.cert", "--arithmetic", "guess"],
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files; no test may change it."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content())
    for name in ("folder.npz", "folder.onnx", "folder.vnnlib"):
        (folder / name).mkdir()
    write_safetensors(folder / "nan.safetensors", {"0.weight": NAN, "2.weight": np.ones((2, 4))})
    return folder


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], inputs: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    monkeypatch.setattr("certnet.search.pool.CONNECT_SECONDS", 0.2)
    before = files(inputs)
    done = caller(capsys)(*CASES[case])
    assert done.code == 2, done
    assert one_sentence(done)
    assert done.out == ""
    assert len(done.err) < 600
    assert files(inputs) == before
