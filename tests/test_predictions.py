"""What the bound says about predictions holds for networks of all kinds, and is attained where it can be."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, softmax

from certificates import Certificate, Lipschitz, Report, Verdict
from certificates.making.assemble import certify, residual_dual
from certificates.training import dual_value
from certnet.jobs.predictions import PredictionRange, prediction_range, same_winner, sentences
from formulations import InputError, TrainingProgram, merge_rows

LOSSES = (
    "squared",
    "cross-entropy",
    "logistic",
    "hinge",
    "squared-hinge",
    "huber:0.5",
    "absolute",
    "quantile:0.3",
    "poisson",
)
Weights = tuple[np.ndarray, np.ndarray, np.ndarray]


def targets(loss: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if loss == "cross-entropy":
        return np.eye(3)[np.arange(n) % 3]
    if loss == "poisson":
        return rng.poisson(2.0, (n, 1)).astype(float)
    if loss in ("logistic", "hinge", "squared-hinge"):
        return np.where(np.arange(n)[:, None] % 2, 1.0, -1.0)
    return rng.standard_normal((n, 2))


def problem(loss: str, hidden: str, output: str, *, weighted: bool, seed: int = 0, gamma: float = 1.0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((9, 2))
    weight = rng.uniform(0.3, 3.0, 9) if weighted else None
    biases = {"hidden_bias": hidden, "output_bias": output}
    return TrainingProgram(X, targets(loss, 9, rng), gamma, loss=loss, sample_weight=weight, **biases)


def descended(program: TrainingProgram, seed: int, width: int = 4) -> Weights:
    """A network near a local minimum, of all weights and the output bias."""
    (_, d, c), rng, gamma = program.shape, np.random.default_rng(seed), program.gamma
    cuts = [d * width, (d + c) * width]
    decay = program.loss.bias_decay if program.loss.has_bias else 0.0

    def parts(t: np.ndarray) -> Weights:
        u, v, a = np.split(t, cuts)
        return u.reshape(d, width), v.reshape(c, width), a if program.loss.has_bias else np.zeros(c)

    def value(t: np.ndarray) -> tuple[float, np.ndarray]:
        U, V, a = parts(t)
        z, W = program.X @ U, program.dual(U, V, a)
        slope_u = gamma * program.penalised[:, None] * U - program.X.T @ ((z > 0) * (W @ V))
        slope_v = gamma * V - W.T @ np.maximum(z, 0.0)
        slope = [slope_u.ravel(), slope_v.ravel(), decay * a - W.sum(axis=0)]
        return program.objective(U, V, a), np.concatenate(slope)

    start = 0.5 * rng.standard_normal((d + c) * width + c)
    return parts(minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x)


def networks(program: TrainingProgram, base: Weights, seed: int, count: int = 30) -> Iterator[Weights]:
    """Random ones, the zero network, and others near one that was trained."""
    (_, d, c), rng = program.shape, np.random.default_rng(seed)
    yield np.zeros((d, 0)), np.zeros((c, 0)), base[2]
    for k in range(count):
        size = 10.0 ** rng.uniform(-4, 0.5)
        if k % 2:
            U, V, a = (part + size * rng.standard_normal(part.shape) for part in base)
        else:
            U, V, a = size * rng.standard_normal((d, 5)), size * rng.standard_normal((c, 5)), base[2]
        yield U, V, a if program.output_bias != "none" else np.zeros(c)


def certified(program: TrainingProgram, network: Weights) -> tuple[Certificate, Report]:
    """About the network with its best output bias."""
    merged = merge_rows(program)
    certificate, report = certify(merged, [residual_dual(merged, *network[:2])], *network[:2], provenance={})
    assert report.verdict is Verdict.PROVED
    return certificate, report


def predictions(program: TrainingProgram, network: Weights) -> np.ndarray:
    f = program.fitted(*network[:2]) + network[2]
    name = program.loss.kind.name
    if name == "cross-entropy":
        return np.asarray(softmax(f, axis=1))
    return np.asarray({"logistic": expit, "poisson": np.exp}.get(name, np.asarray)(f))


def winners(program: TrainingProgram, network: Weights) -> np.ndarray:
    f = program.fitted(*network[:2]) + network[2]
    return f.argmax(axis=1) if f.shape[1] > 1 else (f[:, 0] > 0).astype(int)


def assert_holds(program: TrainingProgram, found: PredictionRange, own: Weights, other: Weights) -> None:
    mine, there = predictions(program, own), predictions(program, other)
    assert (found.lower <= there).all()
    assert (there <= found.upper).all()
    apart = np.abs(there - mine)
    assert (apart.max(axis=1) <= found.worst).all()
    distance = np.linalg.norm(apart, axis=1)
    if program.loss.kind.name == "cross-entropy":
        distance = 0.5 * apart.sum(axis=1)
    omega = program.loss.sample_weight
    assert math.sqrt(omega @ distance**2 / omega.sum()) <= found.root_mean_square
    if found.decided is not None:
        same = winners(program, own) == winners(program, other)
        assert same[found.decided].all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("hidden", "output", "weighted"),
    [("penalised", "penalised", True), ("free", "free", False)],
)
def test_no_network_predicts_outside(loss: str, hidden: str, output: str, weighted: bool) -> None:
    program = problem(loss, hidden, output, weighted=weighted)
    own = descended(program, 1)
    certificate, report = certified(program, own)
    own = *own[:2], certificate.proofs[0].output
    for other in [own, descended(program, 2), *networks(program, own, 3)]:
        value = program.objective(*other) * (1 + 1e-9)
        found = prediction_range(certificate, report, objective=max(value, report.objective))
        assert_holds(program, found, own, other)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_row_attains_the_bound(loss: str) -> None:
    """With one row x = 1 the objective less its minimum is B of the output, as long as that has the sign of W."""
    y = {"cross-entropy": [[1.0, 0.0]], "poisson": [[4.0]], "squared": [[3.0]], "absolute": [[3.0]]}.get(loss, [[1.0]])
    program = TrainingProgram([[1.0]], y, 0.25, loss=loss)
    # Here W is γ times a unit vector, or as large as the loss lets it be.
    W = np.array([[0.25, -0.25]]) / math.sqrt(2) if loss == "cross-entropy" else np.array([[0.25]])
    f = program.loss.kind.fitted(W, program.Y)
    if loss == "cross-entropy":
        f -= f.mean()
    v = np.sqrt(np.linalg.norm(f)) * f / np.linalg.norm(f)
    own = np.sqrt(np.linalg.norm(f, keepdims=True)).reshape(1, 1), v.T, np.zeros(program.shape[2])
    merged = merge_rows(program)
    dual = replace(residual_dual(merged, *own[:2]), W=merged.merge_W(W))
    certificate, report = certify(merged, [dual], *own[:2], provenance={})
    assert report.gap < 1e-6
    for factor in (0.7, 1.4):
        other = math.sqrt(factor) * own[0], math.sqrt(factor) * own[1], own[2]
        found = prediction_range(certificate, report, objective=program.objective(*other) * (1 + 1e-9))
        assert_holds(program, found, own, other)
        there, here = predictions(program, other)[0, 0], predictions(program, own)[0, 0]
        end = found.lower[0, 0] if there < here else found.upper[0, 0]
        # At a kink of the loss the objective says more than B.
        assert end == pytest.approx(there, abs=2e-3 * max(abs(there), 1.0))


def orthogonal(loss: str, gamma: float) -> tuple[TrainingProgram, Weights]:
    """Orthogonal rows with targets of one sign: its relaxation is tight."""
    n = 6
    y = np.ones((n, 1)) if loss == "logistic" else np.linspace(1.0, 2.0, n)[:, None]
    program = TrainingProgram(3.0 * np.eye(n), y, gamma, loss=loss)
    return program, min((descended(program, seed, width=2) for seed in range(4)), key=lambda w: program.objective(*w))


def test_a_good_proof_decides_the_classes() -> None:
    program, own = orthogonal("logistic", 0.5)
    certificate, report = certified(program, own)
    assert report.gap < 1e-3
    found = prediction_range(certificate, report)
    assert found.decided is not None
    assert found.decided.all()
    assert found.worst.max() < 0.1
    assert found.root_mean_square < found.worst.max()
    said = sentences(found)
    assert "at least 6 of the 6 training rows" in said[0]
    assert "in a probability" in said[1]
    # Never less than was found, in whatever digits.
    shown = re.findall(r"by at most ([0-9.e-]+) in|by ([0-9.e-]+) in root", said[1])
    for figure, value in zip(shown, (found.worst.max(), found.root_mean_square), strict=True):
        assert value <= float("".join(figure)) <= 1.01 * value


@pytest.mark.parametrize("seed", range(4))
def test_midpoints_of_networks_bound_their_distance_too(seed: int) -> None:
    """Squared loss: ‖f − g‖² ≤ 4(Δ_f + Δ_g), from the objective of both networks together at half their outer size."""
    program, own = orthogonal("squared", 0.5)
    certificate, report = certified(program, own)
    rng = np.random.default_rng(seed)
    f = [part + 0.1 * rng.standard_normal(part.shape) for part in own[:2]]
    g = [part + 0.1 * rng.standard_normal(part.shape) for part in own[:2]]
    both = [np.hstack([left, right]) / math.sqrt(2) for left, right in zip(f, g, strict=True)]
    F, G = program.objective(*f), program.objective(*g)
    square = float(np.sum((program.fitted(*f) - program.fitted(*g)) ** 2))
    assert program.objective(*both) == pytest.approx(0.5 * (F + G) - square / 8)
    assert square <= 4 * (F + G - 2 * report.lower_bound)
    radius = prediction_range(certificate, report, objective=max(F, G)).root_mean_square
    assert square <= (2 * radius) ** 2 * len(program.X)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("hidden", "output"), [("none", "none"), ("penalised", "penalised"), ("free", "free")])
def test_the_gap_is_the_sum_of_what_rows_and_neurons_leave(loss: str, hidden: str, output: str) -> None:
    program = problem(loss, hidden, output, weighted=True)
    own = descended(program, 1)
    certificate, _ = certified(program, own)
    W, omega, kind = certificate.proofs[0].W, program.loss.sample_weight, program.loss.kind
    w = W / omega[:, None]
    for U, V, a in networks(program, own, 5):
        f = program.fitted(U, V) + a
        rows = omega @ (kind.value(f, program.Y) - kind.earned(w, program.Y) + np.sum(w * f, axis=1))
        size_u, size_v = np.linalg.norm(U * program.penalised[:, None], axis=0), np.linalg.norm(V, axis=0)
        paid = np.sum(V * (W.T @ np.maximum(program.X @ U, 0.0)), axis=0)
        neurons = program.gamma * size_u * size_v - paid
        unbalanced = 0.5 * program.gamma * (size_u - size_v) ** 2
        bias = 0.5 * program.gamma * np.sum((a - W.sum(axis=0) / program.gamma) ** 2) if output == "penalised" else 0.0
        gap = program.objective(U, V, a) - dual_value(certificate.statement, W)
        terms = rows + neurons.sum() + unbalanced.sum() + bias
        assert gap == pytest.approx(terms, rel=1e-9, abs=1e-8 * (1 + abs(gap)))
        assert rows >= -1e-9
        assert (neurons >= -1e-9 * (1 + size_u * size_v)).all()


@pytest.mark.parametrize("hidden", ["none", "free"])
def test_neurons_of_a_small_price_are_small(hidden: str) -> None:
    program = problem("squared", hidden, "free", weighted=False)
    own = descended(program, 1)
    certificate, report = certified(program, own)
    W = certificate.proofs[0].W
    for U, V, a in networks(program, own, 7):
        size_u = np.linalg.norm(U * program.penalised[:, None], axis=0)
        mass = size_u * np.linalg.norm(V, axis=0)
        price = np.linalg.norm(W.T @ np.maximum(program.X @ U, 0.0), axis=0) / np.maximum(size_u, 1e-300)
        found = prediction_range(certificate, report, objective=max(program.objective(U, V, a), report.objective))
        for share in (0.0, 0.5, 0.9):
            assert mass[price <= share * program.gamma].sum() <= found.stray_mass(share)
    with pytest.raises(InputError, match="between 0 and 1"):
        found.stray_mass(1.0)


def test_the_size_of_neurons_of_a_small_price_is_attained() -> None:
    """A neuron askew of the only row, of the price 0.6 γ, with a share of the prediction that the other one leaves."""
    program, share, size = TrainingProgram(np.array([[1.0, 0.0]]), np.array([[2.0]]), 1.0), 0.6, 0.25
    best = np.array([[1.0], [0.0]]), np.array([[1.0]]), np.zeros(1)
    certificate, report = certified(program, best)
    root, other = math.sqrt(1.0 - share * size), math.sqrt(size)
    U, V = np.array([[root, 0.6 * other], [0.0, 0.8 * other]]), np.array([[root, other]])
    found = prediction_range(certificate, report, objective=program.objective(U, V))
    assert size <= found.stray_mass(share) <= size * (1 + 1e-6)


def test_a_class_is_decided_up_to_the_nearest_tie() -> None:
    random = np.random.default_rng(0)
    for p in random.dirichlet(np.ones(3), 50):
        best, ties = p.argmax(), []
        for rival in np.flatnonzero(np.arange(3) != best):
            s = p.copy()
            s[[best, rival]] = p[[best, rival]].mean()
            ties.append(float(np.sum(p * np.log(p / s))))
        for factor, decided in ((1 + 1e-6, False), (1 - 1e-6, True)):
            assert same_winner(p[None], np.array([factor * min(ties)])).item() is decided or min(ties) < 1e-7


def test_without_a_proof_nothing_is_bounded() -> None:
    program = problem("hinge", "free", "free", weighted=False)
    certificate, report = certified(program, descended(program, 1))
    found = prediction_range(certificate, replace(report, verdict=Verdict.UNKNOWN))
    assert not np.isfinite(found.lower).any()
    assert not np.isfinite(found.upper).any()
    assert found.decided is not None
    assert not found.decided.any()
    assert sentences(found) == ()


def test_impossible_objectives_and_other_statements_are_named() -> None:
    program = problem("squared", "none", "none", weighted=False)
    certificate, report = certified(program, descended(program, 1))
    with pytest.raises(InputError, match="proved to be a lower bound"):
        prediction_range(certificate, report, objective=0.9 * report.lower_bound)
    other = replace(certificate, statement=Lipschitz.__new__(Lipschitz))
    with pytest.raises(InputError, match="about something else"):
        prediction_range(other, report)
