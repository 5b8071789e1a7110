"""Shared fixtures. Reference data may lie in a folder ``shared`` beside the checkout; tests skip without it."""

import gc
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Matrices in tests are small: one BLAS thread is as fast as two, and many times faster on a busy machine. The libraries
# read this when numpy and scipy are loaded, so it comes first.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Draws are the same in every run, so that more of them find nothing new next time.
settings.register_profile(
    "certnet",
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("certnet")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Where several workers begin, compile the kernel of cones beside them; else each does so for some seconds.

    Each takes a stretch of the tests, so that what the tests of a module share is made by one of them; whoever is ready
    first takes over from the others.

    Below a shell that ignores Ctrl-C for what runs in its background, tests that wait for it would wait for ever.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        config.option.dist = "worksteal" if config.option.dist == "load" else config.option.dist
        command, environment = [sys.executable, "-m", "tests.warm_up"], {**os.environ, "PYTHONPATH": str(ROOT)}
        warming = subprocess.Popen(command, cwd=ROOT, env=environment)
        config.add_cleanup(warming.wait)
        config.add_cleanup(warming.kill)


def pytest_collection_finish() -> None:
    """What is imported stays: to look through its 600,000 objects again and again took a tenth of all the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def paper_data() -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """(X_train, Y_train) of a data set of arXiv 2410.22311 by name."""
    folder = SHARED / "paper"
    if not folder.is_dir():
        pytest.skip("the paper's data sets are not beside this checkout")

    def load(name: str) -> tuple[np.ndarray, np.ndarray]:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as data:
            return data["X_train"], data["Y_train"]

    return load


@pytest.fixture(scope="session")
def reference_values() -> dict[str, dict[str, float]]:
    """Per ``set/γ``: exact_lower ≤ p_∞ ≤ exact_upper and dnn, the relaxation's optimum."""
    file = SHARED / "paper" / "reference_values.json"
    if not file.is_file():
        pytest.skip("the reference values are not beside this checkout")
    return json.loads(file.read_text())


def example(name: str) -> ModuleType:
    """A script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def minimal_checker() -> ModuleType:
    """The second checker of training certificates, written from the specification alone."""
    return example("minimal_checker")
