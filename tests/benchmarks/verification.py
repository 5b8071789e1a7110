"""Verdicts, time and memory per input of the complete verifier. Run: python -m tests.benchmarks.verification

The safeNLP boxes, if they lie beside the checkout, also stretched about their middles; a 64-100-10 network on
scikit-learn's digits; and 784-50-10 and 784-500-10 networks on such digits enlarged to 28×28 pixels, moved and with
noise, because MNIST has to be downloaded. Networks are trained with scikit-learn from seed 0. Regions are cut to the
pixels' range [0, 1]. Each input is verified in a forked process, whose peak memory is listed.
"""

import argparse
import csv
import importlib
import multiprocessing
import resource
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from certnet.jobs.verify import verify
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from tests.conftest import SHARED

SAFENLP = SHARED / "safenlp_medical"
IMAGES = 6000
TRAINED = 1000
"""Images from this one on train; those before it are verified."""
SUITES = {
    "safenlp": [("box", 1.0), ("box", 1.3), ("box", 1.5)],
    "digits-100": [("linf", 0.03), ("linf", 0.1), ("l2", 0.3), ("l2", 0.6)],
    "large-50": [("linf", 0.05), ("linf", 0.1)],
    "large-500": [("linf", 0.05), ("linf", 0.1)],
}


@dataclass(frozen=True, eq=False)
class Instance:
    """A network and a property."""

    network: ReluNetwork
    cases: Sequence[UnsafeCase]


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data / 16.0, data.target


def large_digits() -> tuple[np.ndarray, np.ndarray]:
    """Digits of 20×20 pixels somewhere in 28×28, with noise where there is ink."""
    from scipy.ndimage import zoom

    X, y = digits()
    rng = np.random.default_rng(0)
    enlarged = np.stack([zoom(x.reshape(8, 8), 2.5, order=1) for x in X])
    picked = rng.integers(0, len(X), IMAGES)
    images = np.zeros((IMAGES, 28, 28))
    for image, index in zip(images, picked, strict=True):
        row, column = rng.integers(2, 7, 2)
        image[row : row + 20, column : column + 20] = enlarged[index]
    images = np.clip(1.3 * images - 0.15, 0.0, 1.0)
    noisy = np.clip(images + 0.1 * rng.standard_normal(images.shape), 0.0, 1.0)
    return np.where(images > 0, noisy, 0.0).reshape(IMAGES, 784), y[picked]


def trained(X: np.ndarray, y: np.ndarray, width: int, alpha: float, iterations: int) -> ReluNetwork:
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((width,), alpha=alpha, random_state=0, max_iter=iterations).fit(X, y)
    return ReluNetwork(model.coefs_[0].T, model.intercepts_[0], model.coefs_[1].T, model.intercepts_[1])


def region(x: np.ndarray, norm: str, radius: float) -> InputRegion:
    lower, upper = np.clip(x - radius, 0.0, 1.0), np.clip(x + radius, 0.0, 1.0)
    return InputRegion(lower, upper) if norm == "linf" else InputRegion(lower, upper, x, radius)


def stretched(box: InputRegion, factor: float) -> InputRegion:
    middle, half = 0.5 * (box.lower + box.upper), 0.5 * factor * (box.upper - box.lower)
    return box if factor == 1.0 else InputRegion(middle - half, middle + half)


def boxes(factor: float, count: int) -> Iterator[Instance]:
    from certnet.io import read_relu_network
    from certnet.io.vnnlib import read_vnnlib

    network = read_relu_network(SAFENLP / "perturbations_0.onnx")
    with (SAFENLP / "expected.csv").open() as file:
        names = [row["instance"] for row in csv.DictReader(file)][:count]
    for name in names:
        cases = read_vnnlib(SAFENLP / "vnnlib" / name).cases
        yield Instance(network, [UnsafeCase(stretched(case.region, factor), case.H, case.h) for case in cases])


def images(network: ReluNetwork, X: np.ndarray, norm: str, radius: float) -> Iterator[Instance]:
    for x in X:
        label = int(np.argmax(network(x[None])[0]))
        yield Instance(network, keeps_class(network, region(x, norm, radius), label))


def measure(instance: Instance, time_limit: float) -> tuple[str, float, float]:
    """(verdict, seconds, peak MiB) in a forked process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        found = verify(instance.network, instance.cases, time_limit=time_limit)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sender.send((found.verdict.value, found.seconds, peak))

    process = context.Process(target=work)
    process.start()
    answer: tuple[str, float, float] = receiver.recv()
    process.join()
    return answer


def row(name: str, region_name: str, instances: Iterator[Instance], time_limit: float) -> str:
    found = [measure(instance, time_limit) for instance in instances]
    counts = Counter(verdict for verdict, _, _ in found)
    seconds, peaks = np.array([second for _, second, _ in found]), [peak for _, _, peak in found]
    verdicts = " | ".join(str(counts[verdict]) for verdict in ("PROVED", "REFUTED", "UNKNOWN"))
    times = f"{np.median(seconds):.3f} | {seconds.max():.2f} | {seconds.sum():.0f}"
    return f"| {name} | {region_name} | {verdicts} | {times} | {max(peaks):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--count", type=int, default=100, help="inputs of each row")
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds for each input")
    options = parser.parse_args()
    # What is imported on first use is no part of what an input takes.
    for name in ("flint", "certnet.search.margin", "certnet.search.eliminated", "certificates.checker"):
        importlib.import_module(name)
    print("| network | region | proved | refuted | unknown | median, s | max, s | sum, s | peak, MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.suites:
        if name == "safenlp":
            if not SAFENLP.is_dir():
                print("(safenlp is left out: the boxes are not beside this checkout)")
                continue
            for _, factor in SUITES[name]:
                print(row(name, f"× {factor:g}", boxes(factor, options.count), options.time_limit), flush=True)
            continue
        X, y = digits() if name == "digits-100" else large_digits()
        if name == "digits-100":
            network = trained(X, y, 100, 1e-4, 200)
        else:
            network = trained(X[TRAINED:], y[TRAINED:], int(name.removeprefix("large-")), 1.0, 60)
        for norm, radius in SUITES[name]:
            instances = images(network, X[: options.count], norm, radius)
            print(row(name, f"{norm} {radius:g}", instances, options.time_limit), flush=True)


if __name__ == "__main__":
    main()
