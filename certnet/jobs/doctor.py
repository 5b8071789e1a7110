"""Facts about this installation and machine, for people and for reports."""

import importlib
import os
import platform
from typing import Any

from certnet import __version__
from certnet.runtime.machine import gpu, physical_bytes, version

PACKAGES = (
    "numpy",
    "scipy",
    "cvxpy",
    "picos",
    "clarabel",
    "scs",
    "mosek",
    "networkx",
    "scikit-learn",
    "typer",
    "rich",
    "python-flint",
    "onnx",
    "torch",
)


def versions(packages: tuple[str, ...] = ("numpy", "scipy")) -> dict[str, str | None]:
    """Versions of certnet, Python and distributions, without importing any of these."""
    installed = {package: version(package) for package in packages}
    return {"certnet": __version__, "python": platform.python_version(), **installed}


def gather() -> dict[str, Any]:
    """Everything that ``certnet doctor`` shows, as a JSON object."""
    return {
        "versions": versions(PACKAGES),
        "platform": platform.platform(),
        "solvers": solvers(),
        "blas": blas(),
        "cpus": {"present": os.cpu_count(), "usable": _usable_cpus()},
        "memory_bytes": physical_bytes(),
        "gpu": gpu(),
    }


def solvers() -> dict[str, dict[str, Any]]:
    """For each solver: whether it can run here, and if not why; a missing licence counts as a reason."""
    from certnet.solvers import available_solvers

    return {
        name: {"available": reason is None, "reason": reason, "version": version(name)}
        for name, reason in available_solvers().items()
    }


def blas() -> list[dict[str, Any]]:
    """The linear algebra and threading libraries in use, with their numbers of threads."""
    import numpy  # noqa: F401 - loads the libraries that are to be listed
    import scipy.linalg  # noqa: F401

    threadpool_info = importlib.import_module("threadpoolctl").threadpool_info
    keys = ("internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [{key: library.get(key) for key in keys} for library in threadpool_info()]


def _usable_cpus() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
