"""Fixtures of the solvers' tests."""

import pytest

from certnet.solvers import admm, loops
from certnet.solvers.arrays import Arrays


@pytest.fixture
def torch_layer() -> Arrays:
    """PyTorch's arrays on the host."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    return Arrays("cpu")


@pytest.fixture(params=["numpy", "loops", "torch"])
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Each kind of array, and the ADMM on it; those of numpy once with the compiled loops."""
    chosen = request.getfixturevalue("torch_layer") if request.param == "torch" else Arrays()
    if request.param == "loops":
        monkeypatch.setattr(loops, "SMALLEST_ORDER", 0)
    monkeypatch.setattr(admm, "arrays", lambda device: chosen)
    return chosen
