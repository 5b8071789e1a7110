"""How much memory this process may still take: of the machine, of its control groups, and of its own limits."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60
"""A limit from here on is none; the kernel writes 2⁶³ rounded down to pages."""
GROUPS = Path("/sys/fs/cgroup")


def available_bytes() -> float:
    """The least of what is free in the machine, in every control group above the process, and under ``ulimit -v``.

    Infinite where nothing can be read. Threads and libraries have been counted in what is taken, the pages of files
    that the kernel would give back have not.
    """
    return min([_free_in_machine(), _free_under_ulimit(), *_free_in_groups()])


def _free_in_machine() -> float:
    free = _entries(Path("/proc/meminfo")).get("MemAvailable")
    if free is not None:
        return 1024.0 * free
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return float("inf")


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
        if controllers in ("", "memory"):
            top, names = GROUPS, ("memory.max", "memory.current", "inactive_file")
            if controllers:
                top, names = (
                    GROUPS / "memory",
                    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
                )
            folder = top / path.lstrip("/")
            while True:
                yield _free_in_group(folder, *names)
                if folder == top:
                    break
                folder = folder.parent


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
