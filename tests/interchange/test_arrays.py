"""Networks in .npz and .safetensors files: what is read, what is refused, and how coordinates are folded in."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certnet.io import read_network
from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations.network import ReluNetwork

NAMES = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}


def _weights(d: int = 3, m: int = 5, c: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(d, m)), random.normal(size=(c, m)), random.normal(size=m)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], **entries: Any) -> Path:
    """A file as the specification has it; ``entries`` overwrite fields of every header entry."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        kind = NAMES.get(tensor.dtype.str, tensor.dtype.str)
        offsets = [len(data), len(data) + tensor.nbytes]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": offsets, **entries}
        data += np.ascontiguousarray(tensor).tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def refusal(path: Path) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_network(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "'"))
    return text


def test_certnets_own_file_is_read_with_its_standardisation(tmp_path: Path) -> None:
    U, V, b = _weights()
    own = TwoLayerNetwork(ReluNetwork(U.T, b, V, np.ones(2)), np.arange(3.0), np.array([1.0, 2.0, 4.0]))
    own.save(tmp_path / "own.npz")
    X = np.random.default_rng(1).normal(size=(7, 3))
    np.testing.assert_array_equal(read_network(tmp_path / "own.npz").predict(X), own.predict(X))


@pytest.mark.parametrize("bias", [None, "b", "hidden_bias"])
def test_plain_arrays_are_read(tmp_path: Path, bias: str | None) -> None:
    U, V, b = _weights()
    np.savez(tmp_path / "net.npz", U=U, V=V.astype(np.float32), **({} if bias is None else {bias: b}))
    network = read_network(tmp_path / "net.npz")
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_array_equal(network.network.output, V.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(network.network.hidden_bias, b if bias else np.zeros(len(b)))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"U": np.ones((2, 3))}, "needs arrays U"),
        ({"U": np.ones((2, 3)), "V": np.ones((1, 4))}, "one column per neuron"),
        ({"U": np.ones((2, 3)), "V": np.full((1, 3), np.nan)}, "not a finite number"),
        ({"U": np.ones((2, 3)), "V": np.ones((1, 3)) * 1j}, "real numbers"),
        ({"U": np.ones((2, 3)), "V": np.array([["a"] * 3])}, "real numbers"),
        ({"U": np.ones((2, 3)), "V": np.ones((1, 3)), "b": np.ones(2)}, "biases (2,)"),
        ({"U": np.ones((2, 3)), "V": np.ones((1, 3)), "W3": np.ones(2)}, "unknown meaning"),
        ({"U": np.array([None], dtype=object), "V": np.ones((1, 3))}, "pickled"),
    ],
)
def test_archives_that_hold_no_network_are_refused(tmp_path: Path, arrays: dict, words: str) -> None:
    np.savez(tmp_path / "net.npz", **arrays)
    assert words in refusal(tmp_path / "net.npz")


def test_an_absurd_shape_in_an_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", U=np.ones((2, 3)), V=np.ones((1, 3)))
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "net.npz", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            bad.writestr(name, content.replace(b"(2, 3), }          ", b"(2000000000, 3000)}"))
    assert (tmp_path / "net.npz").stat().st_size < 10_000
    assert "no readable" in refusal(tmp_path / "net.npz")


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_truncated_and_damaged_files_are_refused(tmp_path: Path, ending: str) -> None:
    U, V, _ = _weights()
    path = tmp_path / f"net.{ending}"
    if ending == "npz":
        np.savez(path, U=U, V=V)
    else:
        write_safetensors(path, {"0.weight": U.T, "2.weight": V})
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal(path)
    path.write_bytes(b"\xff" * 64)
    refusal(path)


@pytest.mark.parametrize(
    ("hidden", "output"),
    [
        ("0", "2"),
        ("fc1", "fc2"),
        ("layers.9", "layers.10"),
        ("net.0", "net.2"),
        ("hidden", "output"),
        ("model.hidden_layer", "model.out"),
        ("body", "classifier"),
        ("linear_in", "linear_out"),
    ],
)
@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_layers_are_told_apart_by_shape_and_name(
    tmp_path: Path, hidden: str, output: str, outputs: int, turned: bool
) -> None:
    U, V, b = _weights(d=3, m=5, c=outputs)
    last = np.arange(float(outputs))
    tensors = {f"{hidden}.weight": U.T, f"{hidden}.bias": b, f"{output}.weight": V, f"{output}.bias": last}
    if turned:
        tensors = dict(reversed(tensors.items()))
    network = read_network(write_safetensors(tmp_path / "net.safetensors", tensors))
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_array_equal(network.network.output, V)
    np.testing.assert_array_equal(network.network.hidden_bias, b)
    np.testing.assert_array_equal(network.network.output_bias, last)


def test_half_precision_is_exact(tmp_path: Path) -> None:
    U, V = np.array([[1.5, -2.0]]), np.array([[0.25, 3.0]])
    halves = {"0.weight": U.T.astype("<f2"), "2.weight": V.astype("<f2")}
    network = read_network(write_safetensors(tmp_path / "half.safetensors", halves))
    np.testing.assert_array_equal(network.network.hidden.T, U)
    brain = {name: (array.astype("<f4").view("<u4") >> 16).astype("<u2") for name, array in halves.items()}
    network = read_network(write_safetensors(tmp_path / "brain.safetensors", brain, dtype="BF16"))
    np.testing.assert_array_equal(network.network.hidden.T, U)
    np.testing.assert_array_equal(network.network.output, V)


_SQUARE = np.eye(3)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"0.weight": np.ones((5, 3))}, "one Linear layer"),
        ({f"{k}.weight": np.eye(3) for k in (0, 2, 4)}, "3 Linear layers"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 4))}, "neither layer"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 5)), "2.bias": np.ones(3)}, "biases (3,)"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 5)), "1.running_mean": np.ones(5)}, "running_mean"),
        ({"0.weight": np.ones((5, 3, 3)), "2.weight": np.ones((2, 5))}, "3 dimensions"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 5)), "0.bias": np.ones(4)}, "biases (4,)"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 5)), "1.bias": np.ones(5)}, "no 1.weight"),
        ({"left.weight": _SQUARE, "right.weight": _SQUARE}, "either of left and right"),
        ({"0.weight": np.ones((5, 3)), "2.weight": np.full((2, 5), np.inf)}, "not a finite number"),
    ],
)
def test_other_states_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray], words: str) -> None:
    assert words in refusal(write_safetensors(tmp_path / "net.safetensors", tensors))


@pytest.mark.parametrize(
    "entries",
    [
        {"shape": [2**40, 2**40]},
        {"shape": [-1, 3]},
        {"shape": [True, 15]},
        {"shape": None},
        {"data_offsets": [0, 10**9]},
        {"data_offsets": [8, 0]},
        {"data_offsets": "0"},
        {"dtype": "I64"},
        {"dtype": ["F64"]},
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    tensors = {"0.weight": np.ones((5, 3)), "2.weight": np.ones((2, 5))}
    refusal(write_safetensors(tmp_path / "net.safetensors", tensors, **entries))


@given(st.binary(max_size=200))
def test_arbitrary_headers_never_crash(content: bytes) -> None:
    from certnet.io.packed import safetensors

    for text in (content, struct.pack("<Q", len(content)) + content):
        try:
            safetensors("net", text)
        except InputError:
            continue


@pytest.mark.parametrize("ending", ["pt", "pth", "pkl", "ckpt"])
def test_pickles_are_never_opened(tmp_path: Path, ending: str) -> None:
    text = refusal(tmp_path / f"net.{ending}")
    assert "safetensors.torch.save_file" in text


def test_missing_files_and_unknown_endings_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "net.npz")
    assert ".safetensors" in refusal(tmp_path / "net.h5")
    (tmp_path / "folder.npz").mkdir()
    assert "folder" in refusal(tmp_path / "folder.npz")


@pytest.mark.parametrize("seed", range(4))
def test_folding_keeps_the_function(seed: int) -> None:
    # The program sees z = (x − offset)/scale; the network standardises x in a way of its own.
    U, V, b = _weights(seed=seed)
    random = np.random.default_rng(seed)
    offset, scale = random.normal(size=3), random.uniform(0.5, 2.0, size=3)
    network = ReluNetwork(U.T, b, V, random.normal(size=len(V)))
    own = TwoLayerNetwork(network, offset=random.normal(size=3), scale=random.uniform(0.5, 2.0, size=3))
    P, Q, a = own.on(offset, scale).program_weights(hidden_bias=True)
    X = random.normal(size=(20, 3))
    Z = np.hstack([(X - offset) / scale, np.ones((20, 1))])
    np.testing.assert_allclose(np.maximum(Z @ P, 0.0) @ Q.T + a, own.predict(X), rtol=1e-12)
    assert own.on(offset, scale).note is not None


def test_equal_standardisation_changes_no_weight() -> None:
    U, V, _ = _weights()
    offset, scale = np.array([0.1, 0.2, 0.3]), np.array([1.0, 3.0, 7.0])
    own = TwoLayerNetwork(ReluNetwork(U.T, np.zeros(len(U.T)), V, np.array([1.0, 2.0])), offset, scale, ["a", "b"])
    P, Q, a = own.on(offset, scale, ("b", "a")).program_weights(hidden_bias=False)
    np.testing.assert_array_equal(P, U)
    np.testing.assert_array_equal(Q, V[::-1])
    np.testing.assert_array_equal(a, [2.0, 1.0])
    assert own.on(offset, scale) is own.network


def test_networks_that_do_not_fit_the_data_are_refused() -> None:
    U, V, b = _weights()
    network = ReluNetwork(U.T, b, V, np.zeros(2))
    with pytest.raises(InputError, match="3 features, but the data have 4"):
        TwoLayerNetwork(network).on(np.zeros(4), np.ones(4))
    with pytest.raises(InputError, match="hidden biases"):
        network.program_weights(hidden_bias=False)
    with pytest.raises(InputError, match="knows the classes"):
        TwoLayerNetwork(network, classes=["a", "b"]).on(classes=("a", "c"))
