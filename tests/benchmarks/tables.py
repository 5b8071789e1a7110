"""Tables with everything people have in them, against scikit-learn's defaults. Run: python -m tests.benchmarks.tables

Ten sets that scikit-learn ships or generates are written as CSV files, with mess added: one feature becomes a
category, one a date, one yes and no; values are missing; an ID, an index and a constant column come on top.
``certnet train FILE`` learns 80 % of the rows. ``MLPClassifier`` or ``MLPRegressor``, and ``LogisticRegression`` or
``Ridge``, all with their defaults, learn the same rows behind the usual pipeline (median, standardisation, one-hot),
with ID, index and constant taken away and dates made numbers for them by hand. Scores are on the other 20 %, on which
nothing is chosen.

A seed decides everything random: which rows of a large set are taken, or how a set is generated, the mess, the split,
and the networks. Means over seeds come with their standard errors, and so do the differences, which are taken seed by
seed. Without ``--prove`` certnet ends when its network is trained (``--method global --gap 0.999 --nodes 1``); the time
limit matters only where training is not done by then. ``--out`` keeps a line of JSON for each seed as soon as it is
measured, and what it holds already is not measured again.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
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

from certnet.io import Recipe
from certnet.io.load_data import split_rows
from certnet.io.tables import read_table
from certnet.io.tabular import tabular

SIZES = (200, 2000, 10_000)
TRAINED_ONLY = ("--method", "global", "--gap", "0.999", "--nodes", "1")
OTHERS = ("MLP", "linear")
Source = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
"""Features and targets of at most so many rows, by a seed."""


def _shipped(name: str) -> Source:
    def load(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
        return X[chosen], y[chosen] if name == "diabetes" else np.array([f"class {label}" for label in y[chosen]])

    return load


def _generated(name: str, **options: object) -> Source:
    def load(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        X, y = getattr(datasets, f"make_{name}")(n_samples=rows, random_state=seed, **options)
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


def messy(X: np.ndarray, y: np.ndarray, seed: int) -> pd.DataFrame:
    """A table of a set, as it might come out of a spreadsheet; the target comes last."""
    random, (n, d) = np.random.default_rng(seed + 1), X.shape
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


def scores(frame: pd.DataFrame, path: Path, seed: int) -> dict[str, float]:
    """What scikit-learn reaches on the test rows."""
    data, _ = tabular(read_table(path), Recipe(source=str(path), loss="auto"), None, None)
    parts = split_rows(data, seed)
    rows, regression = np.union1d(parts.train, parts.val), data.task == "regression"
    y = data.Y[:, 0] if regression else data.Y.argmax(axis=1)
    X = frame.drop(columns=["row", "customer_id", "country", "target"])
    X["seen"] = (pd.to_datetime(X["seen"]) - pd.Timestamp("2021-01-01")).dt.days
    numbers, words = [*X.select_dtypes("number").columns], [*X.select_dtypes(exclude="number").columns]
    MLP, linear = (MLPRegressor, Ridge) if regression else (MLPClassifier, LogisticRegression)
    reached = {}
    for name, model in zip(OTHERS, (MLP(random_state=seed), linear()), strict=True):
        pipeline = make_pipeline(
            ColumnTransformer(
                [
                    ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
                    ("words", OneHotEncoder(handle_unknown="ignore"), words),
                ]
            ),
            model,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline.fit(X.iloc[rows], y[rows])
        reached[name] = float(pipeline.score(X.iloc[parts.test], y[parts.test]))
    return reached


def measure(name: str, rows: int, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """All scores of a set with one seed."""
    frame = messy(*SETS[name](rows, seed), seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        frame.to_csv(path, index=False)
        command = [sys.executable, "-m", "certnet", "train", str(path), "--json", "--quiet", "--seed", str(seed)]
        command += ["--out", f"{folder}/run", "--time-limit", str(options.time_limit)]
        began = _seconds_of_children()
        run = subprocess.run(
            [*command, *(() if options.prove else TRAINED_ONLY)], capture_output=True, text=True, check=False
        )
        took = _seconds_of_children() - began
        if run.returncode not in (0, 3):
            raise SystemExit(f"{name}: {run.stderr}")
        report = json.loads(run.stdout)
        key = "r2" if report["data"]["task"] == "regression" else "accuracy"
        row = {"set": name, "rows": rows, "seed": seed, "measure": key, "d": report["data"]["d"], "seconds": took}
        row |= {figure: report[figure] for figure in ("gap", "width", "gamma", "selection")}
        return {**row, "certnet": report[key]["test"], **scores(frame, path, seed)}


def _seconds_of_children() -> float:
    """CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def mean_of(values: pd.Series) -> str:
    """A mean with its standard error, where there is one."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")


def table_of(found: pd.DataFrame) -> Table:
    """A line for each set and size: means over seeds, and how much better certnet is than each of the others."""
    better = [f"than {other}" for other in OTHERS]
    table = Table("set", "rows", "d", "measure", "seeds", "certnet", *OTHERS, *better, "CPU s")
    for (name, rows), lines in found.groupby(["set", "rows"], sort=False):
        means = [mean_of(lines[column]) for column in ("certnet", *OTHERS)]
        means += [mean_of(lines["certnet"] - lines[other]) for other in OTHERS]
        about = (name, f"{rows:,}", round(lines["d"].mean()), lines["measure"].iloc[0], len(lines))
        table.add_row(*map(str, about), *means, f"{lines['seconds'].mean():.0f}")
    return table


def main() -> None:
    """Measure what is not there yet, and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=[*SETS], choices=[*SETS])
    parser.add_argument("--sizes", nargs="*", type=int, default=[*SIZES], help="most rows of a set")
    parser.add_argument("--seeds", nargs="*", type=int, default=[*range(10)])
    parser.add_argument("--time-limit", type=float, default=50.0)
    parser.add_argument("--prove", action="store_true", help="prove as well, as a user would")
    parser.add_argument("--out", type=Path, default=Path("tables.jsonl"))
    options = parser.parse_args()
    found = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(row["set"], row["rows"], row["seed"]) for row in found}
    for seed in options.seeds:
        for name in options.sets:
            for rows in sorted({len(SETS[name](size, 0)[0]) for size in options.sizes}):
                if (name, rows, seed) not in known:
                    found.append(measure(name, rows, seed, options))
                    with options.out.open("a") as stream:
                        stream.write(f"{json.dumps(found[-1])}\n")
    Console(width=160).print(table_of(pd.DataFrame(found)))


if __name__ == "__main__":
    main()
