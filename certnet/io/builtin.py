"""Data sets that come along: four from scikit-learn, and the spiral, which is generated."""

from dataclasses import replace

import numpy as np

from certnet.io.columns import Columns
from certnet.io.dataset import DataSet, Task

BUILT_IN = ("iris", "wine", "breast_cancer", "digits", "spiral")
_SPIRAL_SEED, _SPIRAL_NOISE = 100, 0.15
_POINTS_PER_ARM, _ARMS = 20, 3


def load_builtin(name: str, *, task: Task | None) -> DataSet:
    """A data set of ``BUILT_IN``; with ``task="regression"`` the class numbers 0, 1, … are the target."""
    data = _spiral() if name == "spiral" else _from_sklearn(name)
    if task != "regression":
        return data
    number = np.arange(data.Y.shape[1], dtype=np.float64)[:, None]
    Y_val, Y_test = (None if Y is None else Y @ number for Y in (data.Y_val, data.Y_test))
    return replace(data, task=task, classes=None, Y=data.Y @ number, Y_val=Y_val, Y_test=Y_test)


def _from_sklearn(name: str) -> DataSet:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return DataSet(
        name=name,
        task="classification",
        X=np.array(bunch.data, dtype=np.float64, order="C"),
        Y=np.eye(len(bunch.target_names))[bunch.target],
        classes=tuple(map(str, bunch.target_names)),
        columns=Columns.numbers([str(feature) for feature in bunch.feature_names]),
    )


def _spiral() -> DataSet:
    """Three noisy arms in the plane, 20 points each; validation and test are further draws of the same noise.

    Point i of arm j has radius r = i/38 and angle 4(j + i/19) + 0.15·(standard normal), and coordinates
    (r sin, r cos): the generator of Stanford's CS231n notes. The training points are those of arXiv 2410.22311, to
    12 decimals; rounding there makes them equal on every machine.
    """
    # The legacy generator on purpose: NumPy promises never to change its stream.
    noise = np.random.RandomState(_SPIRAL_SEED).randn(3, _ARMS, _POINTS_PER_ARM)
    steps = np.linspace(0.0, 1.0, _POINTS_PER_ARM)
    angle = 4.0 * (np.arange(_ARMS)[:, None] + steps) + _SPIRAL_NOISE * noise
    points = 0.5 * steps[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    train, val, test = np.round(points.reshape(3, -1, 2), 12) + 0.0
    Y = np.repeat(np.eye(_ARMS), _POINTS_PER_ARM, axis=0)
    return DataSet(
        name="spiral",
        task="classification",
        X=train,
        Y=Y,
        classes=("arm 1", "arm 2", "arm 3"),
        columns=Columns.numbers(["x", "y"]),
        X_val=val,
        Y_val=Y,
        X_test=test,
        Y_test=Y,
    )
