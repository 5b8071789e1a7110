"""The pictures of the gallery, made anew: python docs/site/gallery.py (three minutes on one core).

They are stored, because pages are built without training. Bounds and times in them depend on the machine.
"""

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_wine, make_moons
from sklearn.preprocessing import StandardScaler

import certnet
from certnet import plots

FOLDER = Path(__file__).parent / "assets" / "gallery"
FREE = {"hidden_bias": "free", "output_bias": "free"}


def main() -> None:
    """Train, audit and draw."""
    mpl.use("svg")
    # Text stays text, names are the same every time, and no date is written.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "certnet", "font.family": "sans-serif"})
    FOLDER.mkdir(parents=True, exist_ok=True)
    X, y = load_wine(return_X_y=True)
    X, Y = StandardScaler().fit_transform(X)[::2], np.eye(3)[y][::2]
    y = y[::2]
    program = certnet.TrainingProgram(X, Y, gamma=3.0, loss="cross-entropy", **FREE)
    wine = certnet.train(program, time_limit=40)
    draw("history", plots.history(wine))
    draw("spectrum", plots.spectrum(wine))
    draw("activations", plots.activations(network_of(wine), X, order=y))
    path = certnet.train_path(X, Y, gammas=[100, 30, 10, 3], loss="cross-entropy", time_limit=60, **FREE)
    draw("path", plots.path(path))
    moons, labels = make_moons(60, noise=0.2, random_state=0)
    signs = 2.0 * labels[:, None] - 1.0
    flat = certnet.train(certnet.TrainingProgram(moons, signs, gamma=0.1, loss="logistic", **FREE), time_limit=20)
    draw("boundary", plots.decision_boundary(network_of(flat), moons, labels))
    audited = certnet.audit(
        network_of(wine),
        X[:40],
        y[:40],
        norm="l2",
        radii=[0.25, 0.5, 1.0, 1.5, 2.0],
        certified_radii=True,
        input_limit=3,
    )
    draw("accuracy", plots.accuracy(audited))
    draw("radii", plots.radii(audited))


def network_of(result: certnet.TrainingResult) -> certnet.ReluNetwork:
    """The network of a certificate with a hidden bias."""
    found = result.certificate
    return certnet.ReluNetwork.of_program(found.U, found.V, found.output, hidden_bias=True)


def draw(name: str, axes: Any) -> None:
    """Write one picture."""
    axes.figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, transparent=False)
    print(name, os.path.getsize(FOLDER / f"{name}.svg"))  # noqa: T201, PTH202


if __name__ == "__main__":
    main()
