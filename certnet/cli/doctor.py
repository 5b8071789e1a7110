"""``certnet doctor``."""

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from certificates.arithmetic.machine import LARGE, MachineFailure, require_machine
from certnet.cli.options import JSON
from certnet.cli.output import Exit, head
from certnet.io.output import print_result
from certnet.runtime.machine import blas, cpus, gpu, physical_memory, version, versions

PACKAGES = "numpy scipy cvxpy picos clarabel scs mosek networkx scikit-learn click rich python-flint onnx torch"


def doctor(json: bool = JSON) -> int:
    """Show versions, solvers and their licences, BLAS threads, memory and GPU."""
    facts = gather()
    reason = "Facts about this machine; nothing is judged."
    print_result({**head("doctor", None, reason), **facts}, [*lines(facts)], as_json=json, needed=True)
    return Exit.OK


def gather() -> dict[str, Any]:
    """Everything that the command shows, as a JSON object; a solver without a licence is not available."""
    from certnet.solvers import available_solvers

    return {
        "versions": versions(tuple(PACKAGES.split())),
        "platform": platform.platform(),
        "solvers": {
            name: {"available": reason is None, "reason": reason, "version": version(name)}
            for name, reason in available_solvers().items()
        },
        "blas": blas(),
        "cpus": cpus(),
        "memory_bytes": physical_memory(),
        "gpu": gpu(),
        "arithmetic": arithmetic(),
    }


def arithmetic() -> str:
    """Whether this thread computes as the checkers assume, in words."""
    try:
        require_machine(LARGE)
    except MachineFailure as failure:
        return str(failure)
    return "rounds to nearest with gradual underflow, as the checkers need it"


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts as plain text, one to a line."""

    def line(name: str, value: object) -> str:
        return f"{name:<14} {value}"

    yield from (line(name, found or "not installed") for name, found in facts["versions"].items())
    yield line("platform", facts["platform"])
    for name, solver in facts["solvers"].items():
        ready = "ready, licence found" if name == "mosek" else "ready"
        yield line("solver", f"{name}: {ready if solver['available'] else solver['reason']}")
    for library in facts["blas"]:
        yield line("threads", f"{library['internal_api']} {library['version'] or ''}: {library['num_threads']}")
    yield line("arithmetic", facts["arithmetic"])
    yield line("CPUs", "{usable} usable of {present}".format(**facts["cpus"]))
    memory, gpu = facts["memory_bytes"], facts["gpu"]
    yield line("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB")
    yield from (line("GPU", device) for device in gpu["devices"] or ["none found"])
    if gpu["torch"] is not None:
        usable = {None: "no GPU to use", True: "can use the GPU", False: "cannot use the GPU"}[gpu["torch_cuda"]]
        yield line("PyTorch", f"{gpu['torch']}, {usable}")
