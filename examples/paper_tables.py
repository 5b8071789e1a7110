"""The tables of the paper (arXiv 2410.22311), run again: objective, proved bound, gap, rank and accuracies.

For each data set, γ and bias certnet trains on the training rows, proves the bound of the relaxation, and goes beyond
it where it can. Beside it stand networks of 5 to 300 neurons trained by SGD on the same objective, and ridge regression
with the two kernels of infinitely wide networks, NNGP and NTK. Step sizes and ridges are chosen on a fifth of the
training rows, then all training rows are used. Test rows are reported and never chosen by. A bias is penalised, as in
the paper: the hidden layer sees a column of ones.

Run: python examples/paper_tables.py --data-dir FOLDER --jobs 4, where each NAME.npz holds X_train, Y_train, X_test and
Y_test (one-hot), or only the first two. Without a folder it takes iris and spiral, which come with certnet. With
--draw 10 it draws ten further random sets by the paper's law. The figures of each set, γ and bias are a file of the
folder --out as soon as they are known, and the same command goes on from there.
"""

import argparse
import functools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

import certnet
from certificates.files import write_atomically
from certnet.io import Recipe, load
from certnet.runtime.wording import down, percent, up
from certnet.solvers import SolveStatus

Array = NDArray[np.float64]
WIDTHS = (5, 20, 100, 300)
RATES = (1.0, 0.3, 0.1, 0.03, 0.01)
RIDGES = 10.0 ** np.arange(-8.0, 2.0)
EPOCHS, BATCH, MOMENTUM = 300, 16, 0.9


Parts = tuple[Array, Array, Array, Array]
"""X and Y of the training rows, X and Y of the test rows."""


def data_sets(folder: Path | None, names: Sequence[str], drawn: int) -> Iterator[tuple[str, Parts]]:
    """Names and rows, features as they are; names may be patterns, such as random*."""

    def asked(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in names)

    for path in sorted(folder.glob("*.npz")) if folder is not None else []:
        if asked(path.stem):
            with np.load(path, allow_pickle=False) as arrays:
                X, Y = (np.asarray(arrays[key], dtype=float) for key in ("X_train", "Y_train"))
                # The random sets have no test rows.
                X_test, Y_test = (arrays.get(key, own[:0]) for key, own in (("X_test", X), ("Y_test", Y)))
                yield path.stem, (X, Y, np.asarray(X_test, dtype=float), np.asarray(Y_test, dtype=float))
    for name in ("iris", "spiral") if folder is None else []:
        if asked(name):
            split = load(Recipe(source=name, raw=True))
            assert split.X_test is not None
            assert split.Y_test is not None
            yield name, (split.X, split.Y, split.X_test, split.Y_test)
    for number in range(drawn):
        if asked(f"drawn{number}"):
            yield f"drawn{number}", random_set(number)


def random_set(number: int, n: int = 25, d: int = 2, c: int = 5, neurons: int = 100) -> Parts:
    """Rows that a random network labels: X, U and V are standard normal, Y = (XU)₊Vᵀ. There are no test rows."""
    generator = np.random.default_rng(number)
    X, U, V = (generator.standard_normal(shape) for shape in ((n, d), (d, neurons), (c, neurons)))
    Y = np.maximum(X @ U, 0.0) @ V.T
    return X, Y, X[:0], Y[:0]


def accuracy(scores: Array, Y: Array) -> float | None:
    """Share of rows of the right class; None without rows, and where targets are numbers."""
    if len(Y) == 0 or not (np.isin(Y, (0.0, 1.0)).all() and (Y.sum(axis=1) == 1.0).all()):
        return None
    return float(np.mean(scores.argmax(axis=1) == Y.argmax(axis=1)))


def objective(U: Array, V: Array, X: Array, Y: Array, gamma: float) -> float:
    fitted = np.maximum(X @ U, 0.0) @ V.T
    return float(0.5 * np.sum((fitted - Y) ** 2) + 0.5 * gamma * (np.sum(U**2) + np.sum(V**2)))


def certified(X: Array, Y: Array, X_test: Array, Y_test: Array, gamma: float, seconds: float) -> dict[str, Any]:
    program = certnet.TrainingProgram(X, Y, gamma)
    relaxed = certnet.train(program, time_limit=0.5 * seconds)
    result = certnet.train(program, method="global", start=relaxed.certificate, time_limit=0.5 * seconds, gap=1e-3)
    report, solved, U, V = result.report, relaxed.relaxation, result.U, result.V
    return {
        "verdict": report.verdict.name,
        "objective": report.objective,
        "bound": report.lower_bound,
        "gap": report.gap,
        "relaxation": relaxed.report.lower_bound,
        # Of an iterate on the way, the rank says nothing.
        "rank": relaxed.rank if solved is not None and solved.status is SolveStatus.CONVERGED else None,
        "width": int(U.shape[1]),
        "train": accuracy(np.maximum(X @ U, 0.0) @ V.T, Y),
        "test": accuracy(np.maximum(X_test @ U, 0.0) @ V.T, Y_test),
        "seconds": sum((*relaxed.stages.values(), *result.stages.values())),
    }


def sgd(X: Array, Y: Array, gamma: float, width: int, rate: float, seed: int) -> tuple[Array, Array]:
    """A network by SGD with momentum on (objective of a batch, scaled to all rows)/n; the rate falls to 0."""
    generator, (n, d), c = np.random.default_rng(seed), X.shape, Y.shape[1]
    size = float(np.mean(np.sum(X**2, axis=1))) ** 0.5 or 1.0
    U = generator.standard_normal((d, width)) / (size * np.sqrt(width))
    V = generator.standard_normal((c, width)) / np.sqrt(width)
    steps, done = EPOCHS * -(-n // BATCH), 0
    velocity = np.zeros_like(U), np.zeros_like(V)
    with np.errstate(all="ignore"):
        for _ in range(EPOCHS):
            for rows in np.array_split(generator.permutation(n), -(-n // BATCH)):
                hidden = np.maximum(X[rows] @ U, 0.0)
                residual = (hidden @ V.T - Y[rows]) / len(rows)
                slope_u = X[rows].T @ ((residual @ V) * (hidden > 0)) + gamma / n * U
                slope_v = residual.T @ hidden + gamma / n * V
                step = rate * (1.0 - done / steps)
                # Inputs of size s make the gradient of U as many times larger, and a step as many times too long.
                velocity = MOMENTUM * velocity[0] - step / size**2 * slope_u, MOMENTUM * velocity[1] - step * slope_v
                U, V, done = U + velocity[0], V + velocity[1], done + 1
    return U, V


def nngp(A: Array, B: Array) -> Array:
    """E (a·w)₊(b·w)₊ for w normal: the arc-cosine kernel of order one."""
    sizes, angle = _angles(A, B)
    return sizes * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2.0 * np.pi)


def ntk(A: Array, B: Array) -> Array:
    """NNGP plus ⟨a, b⟩ times the share of w that see both: both layers are trained."""
    return nngp(A, B) + A @ B.T * (np.pi - _angles(A, B)[1]) / (2.0 * np.pi)


def _angles(A: Array, B: Array) -> tuple[Array, Array]:
    sizes = np.linalg.norm(A, axis=1)[:, None] * np.linalg.norm(B, axis=1)[None]
    return sizes, np.arccos(np.clip(A @ B.T / np.where(sizes > 0, sizes, 1.0), -1.0, 1.0))


def ridge(kernel: Callable[[Array, Array], Array], X: Array, Y: Array, share: float) -> Callable[[Array], Array]:
    """Kernel ridge regression; the ridge is this share of the mean of the kernel's diagonal."""
    K = kernel(X, X)
    weights = np.linalg.solve(K + share * np.trace(K) / len(K) * np.eye(len(K)), Y)
    return lambda other: kernel(other, X) @ weights


def peers(X: Array, Y: Array, X_test: Array, Y_test: Array, gamma: float, widths: Sequence[int]) -> dict[str, Any]:
    """SGD at each width, and both kernels: what is chosen is chosen on a fifth of the training rows."""
    held = np.random.default_rng(0).permutation(len(X)) < len(X) // 5
    found: dict[str, Any] = {}
    for width in widths:

        def loss(rate: float, width: int = width) -> float:
            U, V = sgd(X[~held], Y[~held], gamma, width, rate, 0)
            value = float(np.sum((np.maximum(X[held] @ U, 0.0) @ V.T - Y[held]) ** 2))
            return value if np.isfinite(value) else np.inf

        rate = min(RATES, key=loss)
        U, V = sgd(X, Y, gamma, width, rate, 1)
        if np.isfinite(U).all() and np.isfinite(V).all():
            found[f"sgd {width}"] = {
                "objective": objective(U, V, X, Y, gamma),
                "rate": rate,
                "train": accuracy(np.maximum(X @ U, 0.0) @ V.T, Y),
                "test": accuracy(np.maximum(X_test @ U, 0.0) @ V.T, Y_test),
            }
    for name, kernel in (("nngp", nngp), ("ntk", ntk)):
        share = min(RIDGES, key=lambda r: float(np.sum((ridge(kernel, X[~held], Y[~held], r)(X[held]) - Y[held]) ** 2)))
        predict = ridge(kernel, X, Y, share)
        found[name] = {
            "ridge": float(share),
            "train": accuracy(predict(X), Y),
            "test": accuracy(predict(X_test), Y_test),
        }
    return found


def file_of(name: str, gamma: float, bias: bool, options: argparse.Namespace) -> Path:
    """Where the figures of one cell are kept."""
    return Path(options.out) / f"{name}-{gamma:g}-{'bias' if bias else 'plain'}.json"


def cell(name: str, parts: Parts, gamma: float, bias: bool, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one data set, γ and bias; those of an earlier run with the same options are read."""
    made = {"seconds": options.seconds, "widths": list(options.widths), "epochs": EPOCHS}
    path, began = file_of(name, gamma, bias, options), time.process_time()
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("made") == made:
            return dict(kept)
    X, Y, X_test, Y_test = parts
    if bias:
        X, X_test = (np.hstack([data, np.ones((len(data), 1))]) for data in (X, X_test))
    found = {
        "name": name,
        "n": len(X),
        "gamma": gamma,
        "bias": bias,
        "made": made,
        "certnet": certified(X, Y, X_test, Y_test, gamma, options.seconds),
        "peers": peers(X, Y, X_test, Y_test, gamma, options.widths),
        "cpu_seconds": time.process_time() - began,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, allow_nan=False)
    write_atomically(path, lambda stream: stream.write(text.encode()))
    return found


def finished(work: Mapping[Any, Callable[[], dict[str, Any]]], jobs: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each key with what its work returns, in the order in which that is known, from so many processes."""
    if jobs == 1:
        yield from ((key, make()) for key, make in work.items())
        return
    # Processes that stand beside each other compute with one thread each. Libraries read this when they are loaded.
    for library in ("OPENBLAS", "OMP", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: dict[Future[dict[str, Any]], Any] = {pool.submit(make): key for key, make in work.items()}
        yield from ((waiting[done], done.result()) for done in as_completed(waiting))


def table(cells: Sequence[dict[str, Any]]) -> Table:
    """One line for each cell."""
    heads = "set,n,bias,γ,objective,relaxation,bound,gap,rank,width,train,test,best SGD,its test,NNGP,NTK"
    shown = Table(*heads.split(","), box=MARKDOWN)
    for one in cells:
        own, others = one["certnet"], one["peers"]
        nets = [value for key, value in others.items() if key.startswith("sgd")]
        best = min(nets, key=lambda net: net["objective"], default=None)
        figures = [up(own["objective"], 5), down(own["relaxation"], 5), down(own["bound"], 5), percent(own["gap"])]
        figures += ["–" if own["rank"] is None else str(own["rank"]), str(own["width"])]
        figures += [share(own["train"]), share(own["test"])]
        figures += ["–", "–"] if best is None else [f"{best['objective']:.5g}", share(best["test"])]
        figures += [share(others[kernel]["test"]) for kernel in ("nngp", "ntk")]
        shown.add_row(one["name"], str(one["n"]), "yes" if one["bias"] else "no", f"{one['gamma']:g}", *figures)
    return shown


def share(value: float | None) -> str:
    """An accuracy; a dash where there are no rows."""
    return "–" if value is None else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of NAME.npz; without it iris and spiral")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="N random sets more")
    parser.add_argument("--sets", nargs="+", default=["*"], help="only these; patterns such as random* are understood")
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.1, 0.01])
    parser.add_argument("--bias", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training and proof for each cell")
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS), help="of the networks trained by SGD")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a cell of its own")
    parser.add_argument("--out", default="runs/paper", help="folder that keeps the figures")
    options = parser.parse_args(arguments)
    biases = {"no": [False], "yes": [True], "both": [False, True]}[options.bias]
    sets = dict(data_sets(options.data_dir, options.sets, options.draw))
    keys = [(name, gamma, bias) for name in sets for bias in biases for gamma in options.gammas]
    if not keys:
        parser.error("no data set has such a name; --data-dir must be a folder of NAME.npz")
    # The longest first, so that no process waits for the last of them.
    order = sorted(keys, key=lambda key: -sets[key[0]][0].size)
    cells: dict[tuple[str, float, bool], dict[str, Any]] = {}
    work = {key: functools.partial(cell, key[0], sets[key[0]], key[1], key[2], options) for key in order}
    for (name, gamma, bias), one in finished(work, options.jobs):
        cells[name, gamma, bias], own = one, one["certnet"]
        what = f"{name} γ = {gamma:g} {'bias' if bias else 'no bias'}"
        print(f"{what}: {own['verdict']}, gap {own['gap']:.2%}", flush=True)
    print("\nTest: share of right classes. Best SGD: the smallest objective of all widths.")
    Console(width=200).print(table([cells[key] for key in keys]))


if __name__ == "__main__":
    main()
