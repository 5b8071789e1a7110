"""PyTorch: the objective in its terms is the number, and the gradient, that PyTorch itself computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet.io.given import Given
from certnet.io.network import TwoLayerNetwork
from certnet.io.objectives import objective_of
from formulations import InputError
from formulations.network import ReluNetwork

torch: Any = None
nn: Any = None

N, D, M = 30, 4, 6
DECAY = 0.03


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """PyTorch is loaded by the first test here, and not by each process that collects it."""
    global torch, nn
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn
    torch.manual_seed(0)


def data(outputs: int, kind: str) -> tuple[Any, Any]:
    """X and targets as PyTorch takes them."""
    X = torch.randn(N, D, dtype=torch.double)
    y = {
        "labels": lambda: torch.randint(outputs, (N,)),
        "bits": lambda: torch.randint(2, (N, outputs)).double(),
        "signs": lambda: 2.0 * torch.randint(2, (N, outputs)).double() - 1.0,
        "numbers": lambda: torch.randn(N, outputs, dtype=torch.double),
        "counts": lambda: torch.randint(9, (N, outputs)).double(),
    }[kind]()
    return X, y


def sequential(outputs: int, **options: Any) -> Any:
    return nn.Sequential(nn.Linear(D, M, **options), nn.ReLU(), nn.Linear(M, outputs, **options)).double()


def theirs(model: Any, loss: Any, X: Any, y: Any) -> Any:
    """loss + DECAY/2·(sum of squared parameters)."""
    return loss(model(X), y) + 0.5 * DECAY * sum((parameter**2).sum() for parameter in model.parameters())


LOSSES: dict[str, tuple[Callable[[str], Any], int, str]] = {
    "cross_entropy": (lambda r: nn.CrossEntropyLoss(reduction=r), 3, "labels"),
    "cross_entropy with weights": (
        lambda r: nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 3.0]).double(), reduction=r),
        3,
        "labels",
    ),
    "bce_with_logits": (lambda r: nn.BCEWithLogitsLoss(reduction=r), 1, "bits"),
    "bce_with_logits of several": (lambda r: nn.BCEWithLogitsLoss(reduction=r), 3, "bits"),
    "bce_with_logits with pos_weight": (
        lambda r: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0]).double(), reduction=r),
        1,
        "bits",
    ),
    "soft_margin": (lambda r: nn.SoftMarginLoss(reduction=r), 2, "signs"),
    "mse": (lambda r: nn.MSELoss(reduction=r), 2, "numbers"),
    "l1": (lambda r: nn.L1Loss(reduction=r), 2, "numbers"),
    "huber": (lambda r: nn.HuberLoss(reduction=r, delta=0.3), 2, "numbers"),
    "smooth_l1": (lambda r: nn.SmoothL1Loss(reduction=r, beta=0.3), 2, "numbers"),
    "smooth_l1 with beta 0": (lambda r: nn.SmoothL1Loss(reduction=r, beta=0.0), 1, "numbers"),
    "poisson_nll": (lambda r: nn.PoissonNLLLoss(reduction=r), 2, "counts"),
    "poisson_nll in full": (lambda r: nn.PoissonNLLLoss(reduction=r, full=True), 2, "counts"),
}


def require_same(given: Given, model: Any, loss: Any, X: Any, y: Any) -> None:
    """Number and gradients agree."""
    model.zero_grad()
    value = theirs(model, loss, X, y)
    assert given.their_number == pytest.approx(value.item(), rel=1e-9)
    value.backward()
    program, (U, V, a) = given.program, given.weights()
    pre, W = program.X @ U, program.dual(U, V, a)
    dU = -program.X.T @ ((W @ V) * (pre > 0)) + program.gamma * U
    dV = -W.T @ np.maximum(pre, 0.0) + program.gamma * V
    da = -W.sum(axis=0) + program.gamma * a
    ours = (dU[:-1].T, dU[-1], dV, da)
    for parameter, slope in zip(model.parameters(), ours, strict=True):
        np.testing.assert_allclose(given.factor * slope, parameter.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_objective_is_the_number_that_pytorch_computes(name: str, reduction: str) -> None:
    make, outputs, kind = LOSSES[name]
    X, y = data(outputs, kind)
    loss, model = make(reduction), sequential(outputs)
    require_same(objective_of(model, X, y, torch_loss=loss, weight_decay=DECAY), model, loss, X, y)


@pytest.mark.parametrize("name", ["mse", "MSELoss", "mse_loss", "CrossEntropyLoss", "cross_entropy", "huber:0.3"])
def test_losses_have_their_names_in_classes_and_functions(name: str) -> None:
    key = "mse" if name.lower().startswith("mse") else "huber" if name.startswith("huber") else "cross_entropy"
    make, outputs, kind = LOSSES[key]
    X, y = data(outputs, kind)
    model = sequential(outputs)
    given = objective_of(model, X, y, torch_loss=name, weight_decay=DECAY, reduction="sum")
    require_same(given, model, make("sum"), X, y)


def test_weights_of_rows_and_classes_that_are_named() -> None:
    X, y = data(3, "labels")
    model, omega, weight = sequential(3), torch.rand(N).double(), [1.0, 2.0, 0.5]
    given = objective_of(
        model, X, y, torch_loss="cross_entropy", weight_decay=DECAY, class_weight=weight, sample_weight=omega
    )
    each = nn.CrossEntropyLoss(weight=torch.tensor(weight).double(), reduction="none")(model(X), y)
    value = (omega * each).sum() / torch.tensor(weight).double()[y].sum()
    decay = 0.5 * DECAY * sum((p**2).sum().item() for p in model.parameters())
    assert given.their_number == pytest.approx(value.item() + decay, rel=1e-9)


def own() -> Any:
    """Layers in an order that says nothing, as many inputs as outputs."""

    class Own(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.b, self.a = nn.Linear(M, D), nn.Linear(D, M)

        def forward(self, x: Any) -> Any:
            return self.b(torch.relu(self.a(x)))

    return Own()


def image() -> Any:
    """Takes images, and has dropout."""

    class Image(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(D, M), nn.ReLU(), nn.Dropout(0.5))
            self.head = nn.Linear(M, 1)

        def forward(self, x: Any) -> Any:
            return self.head(self.body(x)).squeeze(-1)

    return Image()


def test_modules_are_known_by_their_function() -> None:
    X, y = data(D, "numbers")
    model = own().double()
    given = objective_of(model, X, y, torch_loss="mse", weight_decay=DECAY)
    np.testing.assert_array_equal(given.network.hidden, model.a.weight.detach().numpy())
    assert given.their_number == pytest.approx(theirs(model, nn.MSELoss(), X, y).item(), rel=1e-9)
    images = image()
    given = objective_of(images, X.reshape(N, 2, 2), y[:, 0], torch_loss="mse", weight_decay=DECAY)
    assert images.training
    assert next(images.parameters()).dtype == torch.float32
    expected = theirs(images.double().eval(), nn.MSELoss(), X.reshape(N, 2, 2), y[:, 0]).item()
    assert given.their_number == pytest.approx(expected, rel=1e-9)
    assert any("dropout" in note for note in given.notes)


def test_a_state_and_files_are_the_module(tmp_path: Path) -> None:
    X, y = data(3, "labels")
    model = sequential(3)
    terms = {"torch_loss": "cross_entropy", "weight_decay": DECAY}
    truth = objective_of(model, X, y, **terms)
    network = truth.network
    np.savez(tmp_path / "net.npz", W1=network.hidden, b1=network.hidden_bias, W2=network.output, b2=network.output_bias)
    for other in (
        model.state_dict(),
        dict(model.state_dict()),
        tmp_path / "net.npz",
        str(tmp_path / "net.npz"),
        network,
    ):
        given = objective_of(other, X.numpy(), y.numpy(), **terms)
        assert given.objective == truth.objective
        assert given.program.gamma == truth.program.gamma


def _groups(model: Any, *decays: float) -> list[dict[str, Any]]:
    return [{"params": [p], "weight_decay": w} for p, w in zip(model.parameters(), decays, strict=True)]


def test_an_optimizer_knows_its_decay() -> None:
    X, y = data(1, "bits")
    model = sequential(1)
    named = objective_of(model, X, y, torch_loss="bce_with_logits", weight_decay=DECAY)
    for make in (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop):
        optimizer = make(model.parameters(), lr=0.1, weight_decay=DECAY)
        found = objective_of(model, X, y, torch_loss="bce_with_logits", optimizer=optimizer)
        assert found.program.gamma == named.program.gamma
        assert (found.program.hidden_bias, found.program.output_bias) == ("penalised", "penalised")
    free = torch.optim.SGD(_groups(model, DECAY, 0.0, DECAY, 0.0), lr=0.1)
    found = objective_of(model, X, y, torch_loss="bce_with_logits", optimizer=free)
    assert (found.program.hidden_bias, found.program.output_bias) == ("free", "free")
    assert found.objective < named.objective


def test_layers_without_biases_have_none() -> None:
    X, y = data(2, "numbers")
    model = sequential(2, bias=False)
    given = objective_of(model, X, y, torch_loss="mse", weight_decay=DECAY)
    assert (given.program.hidden_bias, given.program.output_bias) == ("none", "none")
    assert given.their_number == pytest.approx(theirs(model, nn.MSELoss(), X, y).item(), rel=1e-9)


def test_adamw_minimises_nothing_until_gamma_is_named() -> None:
    X, y = data(2, "numbers")
    model = sequential(2)
    for optimizer in ("adamw", torch.optim.AdamW(model.parameters(), weight_decay=DECAY)):
        with pytest.raises(InputError, match="no objective"):
            objective_of(model, X, y, torch_loss="mse", optimizer=optimizer, weight_decay=DECAY)
        given = objective_of(model, X, y, torch_loss="mse", optimizer=optimizer, gamma=2.0)
        assert given.program.gamma == 2.0


def test_own_terms() -> None:
    X, y = data(2, "numbers")
    model = sequential(2)
    given = objective_of(model, X, y, loss="squared", gamma=0.5)
    squares = ((model(X) - y) ** 2).sum().item()
    decay = sum(float((layer.weight**2).sum()) for layer in (model[0], model[2]))
    assert given.objective == pytest.approx(0.5 * squares + 0.25 * decay, rel=1e-9)
    assert given.their_number == given.objective
    assert (given.program.hidden_bias, given.program.output_bias) == ("free", "free")


def test_a_stored_network_standardises_and_names_classes() -> None:
    random = np.random.default_rng(0)
    X, offset, scale = random.normal(size=(N, D)), random.normal(size=D), random.uniform(1.0, 2.0, size=D)
    network = ReluNetwork(random.normal(size=(M, D)), np.zeros(M), random.normal(size=(2, M)), np.zeros(2))
    stored = TwoLayerNetwork(network, offset, scale, classes=["no", "yes"])
    labels = np.where(random.normal(size=N) > 0, "yes", "no")
    given = objective_of(stored, X, labels, loss="cross-entropy", gamma=0.1)
    np.testing.assert_array_equal(given.program.X, (X - offset) / scale)
    np.testing.assert_array_equal(given.program.Y[:, 1], labels == "yes")
    f = network((X - offset) / scale)
    own = np.where(labels == "yes", f[:, 1] - f[:, 0], f[:, 0] - f[:, 1])
    decay = 0.05 * float(np.sum(network.hidden**2) + np.sum(network.output**2))
    assert given.objective == pytest.approx(float(np.sum(np.log1p(np.exp(-own)))) + decay, rel=1e-12)
    assert (given.program.hidden_bias, given.program.output_bias) == ("none", "none")


def _two(outputs: int = 3, kind: str = "labels") -> tuple[Any, Any, Any]:
    X, y = data(outputs, kind)
    return sequential(outputs), X, y


def _refused(last: Any) -> Callable[[], Any]:
    def call() -> Any:
        model, X, y = _two()
        return objective_of(nn.Sequential(*model, last).double(), X, y, torch_loss="cross_entropy", weight_decay=DECAY)

    return call


def _with(**terms: Any) -> Callable[[], Any]:
    return lambda: objective_of(*_two(), **{"torch_loss": "cross_entropy", "weight_decay": DECAY, **terms})


def _optimised(*decays: float) -> Any:
    model, X, y = _two()
    return objective_of(
        model, X, y, torch_loss="cross_entropy", optimizer=torch.optim.SGD(_groups(model, *decays), lr=1.0)
    )


def _deep() -> Any:
    model, X, y = _two()
    return objective_of(nn.Sequential(*model, nn.ReLU(), nn.Linear(3, 3)), X, y, torch_loss="mse", weight_decay=1.0)


def wrong() -> dict[str, tuple[Callable[[], Any], str]]:
    return {
        "Softmax at the end": (_refused(nn.Softmax(dim=1)), "cross_entropy"),
        "LogSoftmax at the end": (_refused(nn.LogSoftmax(dim=1)), "cross_entropy"),
        "Sigmoid at the end": (_refused(nn.Sigmoid()), "bce_with_logits"),
        "Tanh at the end": (_refused(nn.Tanh()), "does not map"),
        "a normalisation": (_refused(nn.BatchNorm1d(3)), "BatchNorm1d"),
        "three layers": (_deep, "two Linear"),
        "no loss": (_with(torch_loss=None), "Name the loss"),
        "two losses": (_with(loss="squared"), "Name the loss"),
        "the likelihood": (_with(torch_loss="NLLLoss"), "cross_entropy"),
        "probabilities": (_with(torch_loss="binary_cross_entropy"), "bce_with_logits"),
        "a loss that is not there": (_with(torch_loss="MultiMarginLoss"), "has cross_entropy"),
        "no loss at all": (_with(torch_loss=3), "name or a loss"),
        "smoothed labels": (_with(torch_loss=nn.CrossEntropyLoss(label_smoothing=0.1)), "smoothing"),
        "a Poisson rate": (_with(torch_loss=nn.PoissonNLLLoss(log_input=False)), "log_input"),
        "no reduction": (_with(torch_loss=nn.CrossEntropyLoss(reduction="none")), "reduction"),
        "no decay": (_with(weight_decay=None), "minimiser"),
        "decay zero": (_with(weight_decay=0.0), "minimiser"),
        "negative decay": (_with(weight_decay=-1.0), "positive"),
        "an unknown optimizer": (_with(optimizer="newton"), "newton"),
        "an optimizer of another model": (
            _with(optimizer=torch.optim.SGD(sequential(3).parameters(), lr=1.0, weight_decay=1.0)),
            "does not hold",
        ),
        "two decays of weights": (lambda: _optimised(1.0, 1.0, 2.0, 1.0), "differently"),
        "a decay of biases": (lambda: _optimised(1.0, 0.5, 1.0, 1.0), "biases"),
        "labels beyond": (
            lambda: objective_of(*_two()[:2], torch.full((N,), 3), torch_loss="cross_entropy", weight_decay=1.0),
            "1 classes",
        ),
        "one class of two": (
            lambda: objective_of(*_two(1)[:2], torch.full((N,), 0.3), torch_loss="bce_with_logits", weight_decay=1.0),
            "classes",
        ),
        "class weights of another loss": (_with(torch_loss="mse", class_weight=[1.0, 1.0, 1.0]), "cross_entropy"),
        "too few class weights": (_with(class_weight=[1.0, 1.0]), "2 for 3"),
        "too few weights": (_with(sample_weight=[1.0]), "1 entries for 30"),
        "a bias that is not there": (_with(output_bias="none"), "output bias"),
        "a hidden bias that is not there": (_with(hidden_bias="none"), "hidden biases"),
        "gamma in words": (_with(gamma="1"), "gamma"),
        "a number": (lambda: objective_of(3, np.ones((2, 2)), [0, 1], loss="logistic", gamma=1.0), "must be"),
        "other features": (
            lambda: objective_of(_two()[0].state_dict(), np.ones((2, 3)), [0, 1], loss="squared", gamma=1.0),
            "3",
        ),
    }


def test_what_has_no_objective_is_refused_in_one_sentence() -> None:
    for name, (call, words) in wrong().items():
        with pytest.raises(InputError) as caught:
            call()
        message = str(caught.value)
        assert words in message, (name, message)
        assert "\n" not in message
        assert message.endswith(".")
