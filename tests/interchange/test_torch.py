"""PyTorch: a live Sequential gives the function that it computes in evaluation, or one sentence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from certnet.io import network_from_torch
from formulations import InputError

D, M, C = 4, 6, 3


@pytest.fixture
def torch() -> Any:
    package = pytest.importorskip("torch", reason="PyTorch is not installed")
    package.manual_seed(0)
    return package


def _norm(nn: Any, size: int) -> Any:
    """A normalisation with statistics that are not the first ones, weights of both signs."""
    layer = nn.BatchNorm1d(size)
    random = np.random.default_rng(size)
    for tensor, values in (
        (layer.running_mean, random.normal(size=size)),
        (layer.running_var, random.uniform(0.2, 3.0, size)),
        (layer.weight.data, random.normal(size=size)),
        (layer.bias.data, random.normal(size=size)),
    ):
        tensor.copy_(tensor.new_tensor(values))
    return layer


def _same_relu_twice(nn: Any) -> Any:
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(D, M), relu, nn.Linear(M, C), relu)


MODULES: dict[str, Callable[[Any], Any]] = {
    "plain": lambda nn: nn.Sequential(nn.Linear(D, M), nn.ReLU(), nn.Linear(M, C)),
    "without biases": lambda nn: nn.Sequential(nn.Linear(D, M, bias=False), nn.ReLU(), nn.Linear(M, C, bias=False)),
    "in place": lambda nn: nn.Sequential(nn.Linear(D, M), nn.ReLU(inplace=True), nn.Linear(M, C)),
    "layers that change nothing": lambda nn: nn.Sequential(
        nn.Flatten(), nn.Identity(), nn.Linear(D, M), nn.ReLU(), nn.Dropout(0.9), nn.Linear(M, C), nn.Identity()
    ),
    "nested": lambda nn: nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(D, M)), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(M, C)))
    ),
    "a normalised input": lambda nn: nn.Sequential(_norm(nn, D), nn.Linear(D, M), nn.ReLU(), nn.Linear(M, C)),
    "a normalised hidden layer": lambda nn: nn.Sequential(
        nn.Linear(D, M), _norm(nn, M), nn.ReLU(), _norm(nn, M), nn.Linear(M, C), _norm(nn, C)
    ),
    "bounded, leaky and affine": lambda nn: nn.Sequential(
        nn.Linear(D, M), nn.Linear(M, M), nn.Hardtanh(-0.5, 2.0), nn.Linear(M, C), nn.Linear(C, C)
    ),
    "slopes": lambda nn: nn.Sequential(nn.Linear(D, M), nn.PReLU(M), nn.Linear(M, C)),
    "no ReLU at all": lambda nn: nn.Sequential(nn.Linear(D, M), nn.Linear(M, C)),
    "a ReLU at the end": lambda nn: nn.Sequential(nn.Linear(D, M), nn.LeakyReLU(0.1)),
    "half precision": lambda nn: nn.Sequential(nn.Linear(D, M), nn.ReLU(), nn.Linear(M, C)).bfloat16(),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_function_is_that_of_the_module(torch: Any, name: str) -> None:
    module = MODULES[name](torch.nn).train()
    network = network_from_torch(module)
    assert module.training
    X = np.random.default_rng(1).normal(size=(20, D))
    with torch.no_grad():
        expected = module.double().eval()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(network(X), expected, rtol=1e-12, atol=1e-12)


def test_weights_are_taken_bit_by_bit(torch: Any) -> None:
    module = MODULES["plain"](torch.nn)
    network = network_from_torch(module)
    for ours, theirs in (
        (network.hidden, module[0].weight),
        (network.hidden_bias, module[0].bias),
        (network.output, module[2].weight),
        (network.output_bias, module[2].bias),
    ):
        np.testing.assert_array_equal(ours, theirs.detach().numpy().astype(np.float64))


def _hooked(nn: Any) -> Any:
    module = MODULES["plain"](nn)
    module[1].register_forward_hook(lambda *_: None)
    return module


def _parametrised(nn: Any) -> Any:
    import torch.nn.utils.parametrizations as parametrizations

    module = MODULES["plain"](nn)
    parametrizations.weight_norm(module[0])
    return module


def _broken(nn: Any) -> Any:
    module = MODULES["plain"](nn)
    module[2].weight.data[0, 0] = float("nan")
    return module


def _own(nn: Any) -> Any:
    class Linear(nn.Linear):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    return nn.Sequential(Linear(D, M), nn.ReLU(), nn.Linear(M, C))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no Sequential": (lambda nn: nn.Linear(D, M), "Sequential is expected, not Linear"),
    "no module": (lambda nn: np.eye(3), "not ndarray"),
    "another activation": (lambda nn: nn.Sequential(nn.Linear(D, M), nn.Tanh(), nn.Softmax()), "layer 1, Tanh"),
    "an end": (lambda nn: nn.Sequential(*MODULES["plain"](nn), nn.Softmax(dim=1)), "layer 3, Softmax"),
    "three layers": (
        lambda nn: nn.Sequential(*MODULES["plain"](nn), nn.ReLU(), nn.Linear(C, C)),
        "layer 3, ReLU, stands after another layer",
    ),
    "the same ReLU twice": (_same_relu_twice, "layer 3, ReLU"),
    "no layer": (lambda nn: nn.Sequential(nn.Flatten()), "holds no layer"),
    "shapes": (lambda nn: nn.Sequential(nn.Linear(D, M), nn.ReLU(), nn.Linear(C, C)), "does not fit"),
    "hooks": (_hooked, "hooks"),
    "a parametrisation": (_parametrised, "layer 0 has hooks"),
    "a subclass": (_own, "not supported"),
    "other axes": (lambda nn: nn.Sequential(nn.Flatten(0), *MODULES["plain"](nn)), "flattens from axis 0"),
    "batch statistics": (
        lambda nn: nn.Sequential(nn.BatchNorm1d(D, track_running_stats=False), *MODULES["plain"](nn)),
        "depends on the batch",
    ),
    "a normalisation of another size": (
        lambda nn: nn.Sequential(nn.BatchNorm1d(D + 1), *MODULES["plain"](nn)),
        "does not fit",
    ),
    "NaN": (_broken, "V has an entry that is not a finite number"),
    "complex": (lambda nn: MODULES["plain"](nn).to(__import__("torch").complex64), "complex"),
    "no numbers": (lambda nn: MODULES["plain"](nn).to("meta"), "without numbers"),
    "lazy": (lambda nn: nn.Sequential(nn.LazyLinear(M), nn.ReLU(), nn.Linear(M, C)), "layer 0 has hooks"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_other_modules_are_one_sentence(torch: Any, name: str) -> None:
    build, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        network_from_torch(build(torch.nn))
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")


def test_things_of_other_packages_need_no_torch() -> None:
    with pytest.raises(InputError, match="not object"):
        network_from_torch(object())
