"""Both array layers against plain numpy. PyTorch runs on its CPU device here; its tests skip where it is absent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certnet.solvers import arrays as module
from certnet.solvers.arrays import Arrays, arrays
from formulations import InputError

LAYERS = ("numpy", "torch")


def make(name: str, *, single: bool = False) -> Arrays:
    """A layer by name; skips when PyTorch is absent."""
    if name == "numpy":
        return Arrays(single=single)
    pytest.importorskip("torch", reason="PyTorch is not installed")
    return Arrays("cpu", single=single)


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Arrays:
    return make(request.param)


def _symmetric(order: int, rank: int, seed: int) -> np.ndarray:
    """A symmetric matrix with ``rank`` positive eigenvalues and no eigenvalue near zero."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((order, order)))
    values = np.where(np.arange(order) < rank, 1.0, -1.0) * rng.uniform(0.5, 2.0, order)
    return (Q * values) @ Q.T


def _positive_part(X: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(X)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def test_host_gives_back_what_array_took(layer: Arrays) -> None:
    a = np.random.default_rng(0).standard_normal((4, 3))
    back = layer.host(layer.array(a))
    np.testing.assert_array_equal(back, a)
    assert back.dtype == np.float64
    single = layer.with_precision(single=True)
    assert layer.host(single.array(a)).dtype == np.float32
    np.testing.assert_array_equal(layer.host(single.cast(layer.array(a))), a.astype(np.float32))
    np.testing.assert_array_equal(layer.host(layer.cast(single.array(a))), a.astype(np.float32).astype(np.float64))


def test_host_and_array_copy(layer: Arrays) -> None:
    a = np.ones((2, 2))
    device = layer.array(a)
    a[0, 0] = 5.0
    layer.host(device)[1, 1] = 7.0
    changed = layer.copy(device)
    changed[0, 1] = 3.0
    np.testing.assert_array_equal(layer.host(device), np.ones((2, 2)))


def test_operations_match_numpy(layer: Arrays) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 5, 4))
    A, B = layer.array(a), layer.array(b)
    assert layer.dot(A, B) == pytest.approx(float(np.sum(a * b)))
    assert layer.square(A[:, 1:3]) == pytest.approx(float(np.sum(a[:, 1:3] ** 2)))
    np.testing.assert_allclose(layer.host(layer.xp.concatenate([A, B])), np.concatenate([a, b]))
    np.testing.assert_allclose(layer.host(A @ B.T), a @ b.T)
    np.testing.assert_array_equal(layer.host(A[layer.array(np.array([3, 0]))]), a[[3, 0]])
    assert not layer.host(layer.zeros(2, 3)).any()


def test_parts_are_changed_in_place(layer: Arrays) -> None:
    a = np.random.default_rng(2).standard_normal((6, 6))
    A = layer.array(a)
    layer.positive_part(A[1:3, 2:])
    layer.diagonal(A[3:5, :2])[...] -= 1.0
    expected = a.copy()
    expected[1:3, 2:] = np.maximum(a[1:3, 2:], 0.0)
    expected[[3, 4], [0, 1]] -= 1.0
    np.testing.assert_array_equal(layer.host(A), expected)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("expected", [0, 30])
@pytest.mark.parametrize("rank", [0, 1, 5, 29, 30])
@pytest.mark.parametrize("name", LAYERS)
def test_projection_is_the_positive_part(name: str, rank: int, expected: int, single: bool) -> None:
    X = _symmetric(30, rank, seed=rank)
    layer = make(name, single=single)
    upper = np.triu(X) + np.tril(np.full_like(X, 7.0), -1)
    F = layer.host(layer.positive_factor(layer.array(upper), expected))
    assert F.shape == (30, rank)
    np.testing.assert_allclose(F @ F.T, _positive_part(X), atol=3e-6 if single else 1e-13)


@given(order=st.integers(1, 12), seed=st.integers(0, 10**6), expected=st.integers(0, 12))
def test_projection_leaves_no_positive_part_and_is_orthogonal(order: int, seed: int, expected: int) -> None:
    X = np.random.default_rng(seed).standard_normal((order, order))
    X += X.T
    F = Arrays().positive_factor(X.copy(), expected)
    P = F @ F.T
    assert np.linalg.eigvalsh(X - P)[-1] <= 1e-12 * np.abs(X).max() * order
    assert abs(float(np.sum(P * (X - P)))) <= 1e-11 * float(np.sum(X**2))


@pytest.mark.parametrize("expected", [0, 30])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error(layer: Arrays, bad: float, expected: int) -> None:
    X = np.eye(30)
    X[3, 7] = X[7, 3] = bad
    with pytest.raises(np.linalg.LinAlgError):
        layer.positive_factor(layer.array(X), expected)


def test_devices_by_name() -> None:
    assert arrays("cpu").xp is np
    with pytest.raises(InputError, match="must be one of cpu, cuda"):
        arrays("tpu")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"devices": [], "torch": None, "torch_cuda": None}, "use the device cpu"),
        ({"devices": ["A, 1, 2"], "torch": None, "torch_cuda": None}, r"pip install certnet\[gpu\]"),
        ({"devices": ["A, 1, 2"], "torch": "2.2", "torch_cuda": False}, "use the device cpu"),
    ],
)
def test_cuda_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch, found: dict, words: str) -> None:
    monkeypatch.setattr(module, "gpu", lambda: found)
    with pytest.raises(InputError, match=words):
        arrays("cuda")


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer = Arrays("cpu")

    def full(*args: object, **options: object) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(InputError, match="choose cpu"):
        layer.empty(2, 2)
