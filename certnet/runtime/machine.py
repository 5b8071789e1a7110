"""Facts about this installation and machine, for people and for reports."""

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
from importlib import metadata
from typing import Any

from certnet import __version__


def version(package: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: tuple[str, ...] = ("numpy", "scipy")) -> dict[str, str | None]:
    """Versions of certnet, Python and distributions, without importing any of these."""
    installed = {package: version(package) for package in packages}
    return {"certnet": __version__, "python": platform.python_version(), **installed}


def blas() -> list[dict[str, Any]]:
    """The linear algebra and threading libraries in use, with their numbers of threads."""
    import numpy  # noqa: F401 - loads the libraries that are to be listed
    import scipy.linalg  # noqa: F401

    threadpool_info = importlib.import_module("threadpoolctl").threadpool_info
    keys = ("internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [{key: library.get(key) for key in keys} for library in threadpool_info()]


def gpu() -> dict[str, Any]:
    """NVIDIA devices as the driver lists them, and whether PyTorch can use them.

    PyTorch takes seconds to import, so it is asked only where there is a device.
    """
    devices, tool = [], shutil.which("nvidia-smi")
    if tool is not None:
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            devices = [line.strip() for line in answer.splitlines() if line.strip()]
        except (OSError, subprocess.SubprocessError):
            pass  # a driver that fails is no GPU
    torch_version, cuda = version("torch"), None
    if devices and torch_version is not None and importlib.util.find_spec("torch") is not None:
        import torch

        cuda = bool(torch.cuda.is_available())
    return {"devices": devices, "torch": torch_version, "torch_cuda": cuda}


def cpus() -> dict[str, int | None]:
    """How many there are, and how many this process may use."""
    present = os.cpu_count()
    return {"present": present, "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present}


def physical_memory() -> int | None:
    """Bytes, None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
