"""Exported networks: other tools compute with them what certnet computes, and certnet reads them again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io import read_network
from certnet.io.export import ENDINGS, export
from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations.network import ReluNetwork

RNG = np.random.default_rng(5)
RAW = ReluNetwork(RNG.normal(size=(7, 3)), RNG.normal(size=7), RNG.normal(size=(2, 7)), RNG.normal(size=2))
SCALED = TwoLayerNetwork(RAW, np.array([5.0, -2.0, 100.0]), np.array([2.0, 0.1, 30.0]), ("no", "yes"))
X = SCALED.offset + SCALED.scale * RNG.normal(size=(40, 3))
LIMIT = {np.float32: 1e-6, np.float64: 1e-12}


def _scores(kind: str, path: Path, X: Any) -> Any:
    """What the tool itself computes, by the lines that the command prints."""
    if kind == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        return session.run(None, {"x": X})[0]
    if kind == "numpy":
        a = np.load(path)
        Z = (X - a["offset"]) / a["scale"] if "scale" in a else X
        return np.maximum(Z @ a["U"] + a["hidden_bias"], 0) @ a["V"].T + a["output_bias"]
    torch, load = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").load_file
    state, Z = load(path), torch.tensor(X)
    Z = (Z - state.pop("offset")) / state.pop("scale") if "scale" in state else Z
    net = torch.nn.Sequential(torch.nn.Linear(3, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2)).to(Z.dtype)
    net.load_state_dict(state)
    return net(Z).detach().numpy()


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("network", [SCALED, TwoLayerNetwork(RAW)], ids=["scaled", "raw"])
def test_other_tools_compute_the_same(tmp_path: Path, kind: Any, dtype: Any, network: TwoLayerNetwork) -> None:
    path = tmp_path / f"net{ENDINGS[kind]}"
    done = export(path, network, kind, {"classes": '["no", "yes"]'}, single=dtype is np.float32)
    assert done.difference < 1e-4
    points = X.astype(dtype) if network is SCALED else ((X - SCALED.offset) / SCALED.scale).astype(dtype)
    expected = network.predict(points.astype(float))
    found = _scores(kind, path, points)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() <= LIMIT[dtype] * max(1.0, np.abs(expected).max())
    again = read_network(path)
    rounded = 0.0 if dtype is np.float64 else 1e-6
    assert again.predict(points) == pytest.approx(expected, rel=0, abs=1e-12 + 10 * rounded)


def test_the_metadata_name_what_goes_in_and_out(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export(tmp_path / "net.onnx", SCALED, "onnx", {"classes": '["no", "yes"]', "loss": "squared"}, single=False)
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert found["classes"] == '["no", "yes"]'
    assert found["producer"].startswith("certnet ")


def test_what_float32_cannot_hold_is_not_written(tmp_path: Path) -> None:
    far = TwoLayerNetwork(RAW, np.array([1e7 + 1 / 3, 0, 0]), np.array([0.1, 1, 1]))
    for kind, ending in ENDINGS.items():
        export(tmp_path / f"double{ending}", far, kind, {}, single=False)
        with pytest.raises(InputError, match="leave --float32 out"):
            export(tmp_path / f"single{ending}", far, kind, {}, single=True)
        assert not (tmp_path / f"single{ending}").exists()
    huge = ReluNetwork(np.full((1, 1), 1e200), np.zeros(1), np.full((1, 1), 1.0), np.zeros(1))
    with pytest.raises(InputError, match="leave --float32 out"):
        export(tmp_path / "huge.npz", TwoLayerNetwork(huge), "numpy", {}, single=True)


def test_small_outputs_are_compared_by_their_size(tmp_path: Path) -> None:
    small = ReluNetwork(RAW.hidden, RAW.hidden_bias, 1e-9 * RAW.output, 1e-9 * RAW.output_bias)
    far = TwoLayerNetwork(small, np.array([1e7 + 1 / 3, 0, 0]), np.array([0.1, 1, 1]))
    export(tmp_path / "net.npz", far, "numpy", {}, single=False)
    with pytest.raises(InputError, match="leave --float32 out"):
        export(tmp_path / "net.npz", far, "numpy", {}, single=True)


@pytest.mark.parametrize("kind", ENDINGS)
def test_halves_of_characters_stop_no_export(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / f"net{ENDINGS[kind]}"
    export(path, SCALED, kind, {"classes": '["\ud800", "yes"]'}, single=False)
    assert np.allclose(read_network(path).predict(X), SCALED.predict(X))


def test_names_and_places_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export(tmp_path / "net.npz", SCALED, "onnx", {}, single=False)
    with pytest.raises(InputError, match="choose another place"):
        export(tmp_path / "absent" / "net.npz", SCALED, "numpy", {}, single=False)
