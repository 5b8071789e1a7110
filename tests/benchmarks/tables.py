"""Tables with everything people have in them, against scikit-learn's defaults. Run: python -m tests.benchmarks.tables

Ten sets that scikit-learn ships or generates are written as CSV files, with mess added: one feature becomes a
category, one a date, one yes and no; values are missing; an ID, an index and a constant column come on top.
``certnet train FILE`` runs as a user types it. ``MLPClassifier`` or ``MLPRegressor``, and ``LogisticRegression`` or
``Ridge``, all with their defaults, learn the same training rows behind the usual pipeline (median, standardisation,
one-hot), with ID, index and constant taken away and dates made numbers for them by hand. Scores are on the same test
rows, on which nothing is chosen. certnet chooses its weight decay on validation rows, which the others do not need; so
they have a second score, with these rows learned as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from certificates.files import write_atomically
from certnet.io import Recipe
from certnet.io.load_data import split_rows
from certnet.io.tables import read_table
from certnet.io.tabular import tabular

SIZES = (200, 2000, 10_000)
Source = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _shipped(name: str) -> Source:
    def load(rows: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        chosen = np.random.default_rng(0).permutation(len(X))[:rows]
        return X[chosen], y[chosen] if name == "diabetes" else np.array([f"class {label}" for label in y[chosen]])

    return load


def _generated(name: str, **options: object) -> Source:
    def load(rows: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = getattr(datasets, f"make_{name}")(n_samples=rows, random_state=0, **options)
        return X, y if y.dtype.kind == "f" else np.array([f"class {label}" for label in y])

    return load


SETS: dict[str, Source] = {
    **{name: _shipped(name) for name in ("iris", "wine", "breast_cancer", "digits", "diabetes")},
    "moons": _generated("moons", noise=0.25),
    "classification": _generated("classification", n_features=12, n_informative=6, n_classes=3),
    "quantiles": _generated("gaussian_quantiles", n_features=5, n_classes=3),
    "friedman1": _generated("friedman1", noise=1.0),
    "regression": _generated("regression", n_features=10, n_informative=5, noise=20.0),
}


def messy(X: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """A table of a set, as it might come out of a spreadsheet; the target comes last."""
    random, (n, d) = np.random.default_rng(1), X.shape
    # Where there are few features they stay, and their mess comes in copies.
    spread = X.std(axis=0)
    busy = np.argsort(-spread / (np.abs(X).mean(axis=0) + 1e-9), kind="stable")
    taken = dict(zip(("level", "seen", "above"), busy[: max(d - 2, 0)], strict=False))
    frame = pd.DataFrame({"row": np.arange(1, n + 1), "customer_id": random.permutation(10 * n)[:n]})
    for column in range(d):
        if column not in taken.values():
            values = pd.Series(X[:, column].round(4))
            frame[f"x{column}"] = values.mask(random.random(n) < 0.03)
    for name in ("level", "seen", "above"):
        values = X[:, taken[name]] if name in taken else random.normal(size=n)
        rank = np.argsort(np.argsort(values, kind="stable"), kind="stable") / n
        if name == "level":
            names = np.array(["very low", "low", "medium", "high", "very high"])
            frame[name] = pd.Series(names[(5 * rank).astype(int)]).mask(random.random(n) < 0.03)
        elif name == "seen":
            days = np.round(1000 * (values - values.min()) / (np.ptp(values) or 1.0)).astype(int)
            frame[name] = (np.datetime64("2021-01-01") + days).astype(str)
        else:
            frame[name] = np.where(values > np.median(values), "yes", "no")
    frame["country"] = "AT"
    frame["target"] = y
    return frame


def scores(frame: pd.DataFrame, path: Path) -> dict[str, float]:
    """What scikit-learn reaches on the test rows, from the training rows, and with the validation rows."""
    found = tabular(read_table(path), Recipe(source=str(path), loss="auto"), None, None)
    parts = split_rows(found.data, 0)
    y = found.data.Y[:, 0] if found.data.task == "regression" else found.data.Y.argmax(axis=1)
    X = frame.drop(columns=["row", "customer_id", "country", "target"])
    X["seen"] = (pd.to_datetime(X["seen"]) - pd.Timestamp("2021-01-01")).dt.days
    numbers, words = [*X.select_dtypes("number").columns], [*X.select_dtypes(exclude="number").columns]
    models = {
        "MLP": MLPRegressor if found.data.task == "regression" else MLPClassifier,
        "linear": Ridge if found.data.task == "regression" else LogisticRegression,
    }
    reached = {}
    for name, model in models.items():
        for added, rows in (("", parts.train), (" +val", np.concatenate([parts.train, parts.val]))):
            pipeline = make_pipeline(
                ColumnTransformer(
                    [
                        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
                        ("words", OneHotEncoder(handle_unknown="ignore"), words),
                    ]
                ),
                model(random_state=0) if name == "MLP" else model(),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pipeline.fit(X.iloc[rows], y[rows])
            reached[name + added] = float(pipeline.score(X.iloc[parts.test], y[parts.test]))
    return reached


def measure(name: str, rows: int, seconds: float, folder: Path) -> dict[str, object]:
    """One line of the table."""
    frame = messy(*SETS[name](rows))
    path = folder / f"{name}-{rows}.csv"
    frame.to_csv(path, index=False)
    began = time.perf_counter()
    command = [sys.executable, "-m", "certnet", "train", str(path), "--json", "--quiet"]
    command += ["--out", str(folder / path.stem), "--time-limit", str(seconds)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if run.returncode not in (0, 3):
        raise SystemExit(f"{name}: {run.stderr}")
    report = json.loads(run.stdout)
    key = "r2" if report["data"]["task"] == "regression" else "accuracy"
    row = {"set": name, "rows": len(frame), "features": report["data"]["d"], "measure": key, "seconds": took}
    row |= {"gap": report["gap"], "width": report["width"], "gamma": report["gamma"], "certnet": report[key]["test"]}
    return row | scores(frame, path) | {"columns": report["data"]["columns"]}


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=[*SETS], choices=[*SETS])
    parser.add_argument("--sizes", nargs="*", type=int, default=[*SIZES])
    parser.add_argument("--time-limit", type=float, default=50.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            sizes = sorted({len(SETS[name](size)[0]) for size in options.sizes})
            for rows in sizes:
                found.append(measure(name, rows, options.time_limit, Path(folder)))
                sys.stderr.write(f"{json.dumps(found[-1])}\n")
                if options.json is not None:
                    text = json.dumps(found, indent=1).encode()
                    write_atomically(options.json, lambda stream, text=text: stream.write(text))
    table = Table("set", "rows", "d", "measure", "certnet", "MLP", "MLP +val", "linear", "linear +val", "gap", "s")
    for row in found:
        figures = [f"{row[key]:.3f}" for key in ("certnet", "MLP", "MLP +val", "linear", "linear +val")]
        gap = "-" if row["gap"] is None else f"{100 * row['gap']:.1f} %"  # type: ignore[operator]
        cells = (row["set"], row["rows"], row["features"], row["measure"], *figures, gap, f"{row['seconds']:.0f}")
        table.add_row(*map(str, cells))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
