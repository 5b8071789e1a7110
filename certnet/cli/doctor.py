"""``certnet doctor`` and ``supports``: this machine, and what VNN-LIB asks a solver about itself."""

import importlib.util
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from certificates.arithmetic.machine import LARGE, MachineFailure, require_machine
from certnet.cli.options import JSON
from certnet.cli.output import head
from certnet.cli.parsing import argument
from certnet.io.float32 import PLAIN
from certnet.io.onnx_nodes import OPERATIONS
from certnet.io.onnx_reference import ENDS
from certnet.io.output import print_result
from certnet.io.query import GUARANTEED
from certnet.runtime.machine import blas, cpus, gpu, physical_memory, version, versions
from formulations import InputError

PACKAGES = "numpy scipy cvxpy picos clarabel scs mosek networkx scikit-learn click rich python-flint onnx torch"
# What stands at the end of a network is read, but queries are not about what comes after it.
OPERATORS = sorted({*OPERATIONS, "Constant", "ConstantOfShape"} - {*ENDS})
CAPABILITIES = {
    "--onnx-opset-versions": ["7", "25"],
    "--onnx-element-types": [*GUARANTEED],
    # Those of float32 by name alone, which means all element types; the others with the one they are read for.
    "--onnx-operators": [name if name in PLAIN else f"{name} real" for name in OPERATORS],
    "--onnx-operators-unsat-proofs": [],
    "--vnnlib-versions": ["1.0", "1.0" if importlib.util.find_spec("vnnlib") is None else "2.0"],
    "--hidden-node-theories": ["NH", "H"],
    "--multiple-input-output-theories": ["SIO", "MIO"],
    "--multiple-network-theories": ["SNET", "MENET", "MINET", "MNET"],
    "--multiple-node-comparison-theories": ["SNC", "MNC"],
    "--arithmetic-complexity-theories": ["BND", "OUTC", "LIN"],
    "--optimised-disjunctive-reasoning": ["false"],
    "--serialise-assignments": ["true"],
    "--unsat-proofs": ["false"],
}
"""Lines of the answer to each question. Disjunctions are expanded; proofs are certnet's own certificates."""


def doctor(json: bool = JSON) -> None:
    """Show versions, solvers and their licences, BLAS threads, memory and GPU."""
    facts = gather()
    reason = "Facts about this machine; nothing is judged."
    print_result({**head("doctor", None, reason), **facts}, [*lines(facts)], as_json=json, needed=True)


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


def supports(
    capability: str = argument("CAPABILITY", f"What is asked: {', '.join(CAPABILITIES)}."),
) -> None:
    """Say what certnet can verify, as VNN-LIB's solver interface asks."""
    if capability not in CAPABILITIES:
        raise InputError(f"{capability!r} is none of {', '.join(CAPABILITIES)}; ask for one of them.")
    print_result({}, CAPABILITIES[capability], as_json=False, needed=True)
