"""Fixtures of the solvers' tests."""

import pytest

from certnet.solvers import admm
from certnet.solvers.arrays import Arrays


@pytest.fixture
def torch_layer() -> Arrays:
    """PyTorch's arrays on the host."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    return Arrays("cpu")


@pytest.fixture(params=["numpy", "torch"])
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Each kind of array, and the ADMM on it."""
    chosen = Arrays() if request.param == "numpy" else request.getfixturevalue("torch_layer")
    monkeypatch.setattr(admm, "arrays", lambda device: chosen)
    return chosen
