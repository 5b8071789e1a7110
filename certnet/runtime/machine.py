"""Facts about this installation and machine: versions, a GPU, and the memory that the process may still take."""

import contextlib
import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from certnet.runtime.version import __version__

UNLIMITED = 1 << 60  # A limit from here on is none; the kernel writes 2⁶³ rounded down to pages.
GROUPS = Path("/sys/fs/cgroup")


@cache
def version(package: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    from importlib import metadata  # is slow to import

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def needed(module: str, otherwise: str) -> Any:
    """A module of an optional package; where it is missing an InputError says this instead."""
    try:
        return importlib.import_module(module)
    except ImportError:
        from formulations import InputError  # brings NumPy, which --help does without

        raise InputError(otherwise) from None


def versions(packages: tuple[str, ...] = ("numpy", "scipy")) -> dict[str, str | None]:
    """Versions of certnet, Python and distributions, without importing any of these."""
    installed = {package: version(package) for package in packages}
    return {"certnet": __version__, "python": platform.python_version(), **installed}


def blas() -> list[dict[str, Any]]:
    """The linear algebra and threading libraries in use, with their numbers of threads."""
    import numpy  # noqa: F401 - loads the libraries that are to be listed
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "num_threads", "threading_layer", "architecture")
    return [{key: library.get(key) for key in keys} for library in threadpool_info()]


def gpu() -> dict[str, Any]:
    """NVIDIA devices as the driver lists them, and whether PyTorch can use them.

    PyTorch takes seconds to import, so it is asked only where there is a device.
    """
    import subprocess  # small questions do without

    devices, tool = [], shutil.which("nvidia-smi")
    if tool is not None:
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # a driver that fails is no GPU
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            devices = [line.strip() for line in answer.splitlines() if line.strip()]
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


def available_bytes() -> float:
    """The least of what is free in the machine, in every control group above the process, and under ``ulimit -v``.

    Infinite where nothing can be read. Threads and libraries have been counted in what is taken, the pages of files
    that the kernel would give back have not.
    """
    free = _entries(Path("/proc/meminfo")).get("MemAvailable")
    machine = float(physical_memory() or "inf") if free is None else 1024.0 * free
    return min([machine, _free_under_ulimit(), *_free_in_groups()])


def _free_under_ulimit() -> float:
    if sys.platform == "win32":
        return float("inf")
    import resource

    limit = min(resource.getrlimit(kind)[0] % (1 << 64) for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    taken = _entries(Path("/proc/self/status")).get("VmSize", 0)
    return float("inf") if limit >= UNLIMITED else max(limit - 1024.0 * taken, 0.0)


def _free_in_groups() -> Iterator[float]:
    """Of every group in the paths of ``/proc/self/cgroup``, in either version of the kernel's interface."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            top, names = GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / path.lstrip("/")
        yield from (_free_in_group(group, *names) for group in (folder, *folder.parents) if group.is_relative_to(top))


def _free_in_group(folder: Path, limit: str, usage: str, cache: str) -> float:
    most, taken = (next(iter(_lines(folder / name)), "") for name in (limit, usage))
    if not (most.isdigit() and taken.isdigit()) or int(most) >= UNLIMITED:
        return float("inf")
    return max(float(most) - float(taken) + _entries(folder / "memory.stat").get(cache, 0), 0.0)


def _entries(path: Path) -> dict[str, int]:
    """Lines such as ``name: 12 kB`` or ``name 12``."""
    words = [line.replace(":", " ").split() for line in _lines(path)]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
