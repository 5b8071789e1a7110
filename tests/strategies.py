"""Hypothesis strategies for training problems and networks, with the corner cases that presolve must survive."""

import numpy as np
from hypothesis import strategies as st

from certificates.making.assemble import residual_dual
from formulations import Dual, Presolved, Primal, TrainingProgram

SEEDS = st.integers(0, 2**32 - 1)
TEXTS = st.text("aZ0 <>&\"'\\/\n\x00\x1b\u202eé\U0001d6fe\ud800", max_size=8)
"""Of characters that trouble pages and files; a list of all that there are takes a second to make."""


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def programs(draw: st.DrawFn, max_n: int = 8, max_d: int = 4, max_c: int = 3) -> TrainingProgram:
    """Random data with zero, duplicated, parallel, antiparallel and badly scaled rows and deficient rank."""
    n = draw(st.integers(1, max_n))
    d = draw(st.integers(1, max_d))
    c = draw(st.integers(1, max_c))
    random = rng(draw(SEEDS))
    X = random.standard_normal((n, d))
    if draw(st.booleans()):
        X *= 10.0 ** random.uniform(-3, 3, size=d)
    for i in range(1, n):
        kind = draw(st.sampled_from(["plain"] * 6 + ["zero", "copy", "parallel", "antiparallel", "third"]))
        source = X[random.integers(i)]
        match kind:
            case "zero":
                X[i] = 0.0
            case "copy":
                X[i] = source
            case "parallel":
                X[i] = 2.0 * source
            case "antiparallel":
                X[i] = -0.5 * source
            case "third":
                X[i] = 3.0 * np.round(source, 3)
                X[i - 1] = np.round(source, 3)
    if d > 1 and draw(st.booleans()):
        X[:, -1] = X[:, 0]
    Y = random.standard_normal((n, c)) * 10.0 ** draw(st.integers(-2, 2))
    gamma = 10.0 ** draw(st.integers(-3, 1))
    return TrainingProgram(X, Y, gamma, hidden_bias=draw(st.sampled_from(["none", "penalised"])))


def networks(program: TrainingProgram, seed: int, count: int = 20):
    """Networks of many widths and sizes, some of them fitted by least squares in the output layer."""
    random = rng(seed)
    _, d, c = program.shape
    yield np.zeros((d, 1)), np.zeros((c, 1))
    for k in range(count):
        m = int(random.integers(1, 12))
        U = random.standard_normal((d, m))
        if k % 2:
            U /= np.maximum(np.linalg.norm(program.X, axis=0)[:, None], 1e-9)
        H = np.maximum(program.X @ U, 0.0)
        ridge = program.gamma * max(float(np.mean(np.sum(U**2, axis=0))), 1e-12) + 1e-12
        V = np.linalg.lstsq(
            np.vstack([H, np.sqrt(ridge) * np.eye(m)]), np.vstack([program.Y, np.zeros((m, c))]), rcond=None
        )[0].T
        norm_u, norm_v = np.linalg.norm(U, axis=0), np.linalg.norm(V, axis=0)
        balance = np.sqrt(np.maximum(norm_v, 1e-12) / np.maximum(norm_u, 1e-12))
        yield U * balance, V / balance


def from_network(presolved: Presolved, U: np.ndarray, V: np.ndarray) -> tuple[Primal, Dual]:
    """The lifted matrix of a network, and its residual as W without multipliers."""
    return presolved.apply_network(U, V), presolved.apply_dual(residual_dual(presolved.rows, U, V))
