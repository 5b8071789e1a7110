"""``certnet doctor``."""

import sys
from collections.abc import Mapping
from typing import Any

from certificates.arithmetic.machine import LARGE, MachineFailure, require_machine
from certnet.cli.exits import Exit
from certnet.cli.report import head
from certnet.io.output import standard_output, strict_json
from certnet.jobs.doctor import gather


def run_doctor(*, json: bool) -> int:
    """Print the facts and return 0."""
    facts = {**gather(), "arithmetic": arithmetic()}
    reason = "Facts about this machine; nothing is judged."
    text = strict_json({**head("doctor", None, reason), **facts}) if json else "\n".join(lines(facts))
    with standard_output(needed=True):
        sys.stdout.write(text + "\n")
    return Exit.OK


def arithmetic() -> str:
    """Whether this thread computes as the checkers assume, in words."""
    try:
        require_machine(LARGE)
    except MachineFailure as failure:
        return str(failure)
    return "rounds to nearest with gradual underflow, as the checkers need it"


def lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts as plain text, one to a line."""
    text = [f"{name:<14} {found or 'not installed'}" for name, found in facts["versions"].items()]
    text.append(f"{'platform':<14} {facts['platform']}")
    for name, solver in facts["solvers"].items():
        state = "ready" if solver["available"] else solver["reason"]
        if name == "mosek" and solver["available"]:
            state = "ready, licence found"
        text.append(f"{'solver':<14} {name}: {state}")
    text.extend(
        f"{'threads':<14} {library['internal_api']} {library['version'] or ''}: {library['num_threads']}"
        for library in facts["blas"]
    )
    text.append(f"{'arithmetic':<14} {facts['arithmetic']}")
    cpus, memory = facts["cpus"], facts["memory_bytes"]
    text.append(f"{'CPUs':<14} {cpus['usable']} usable of {cpus['present']}")
    text.append(f"{'memory':<14} {'unknown' if memory is None else f'{memory / 2**30:.1f} GiB'}")
    gpu = facts["gpu"]
    text.extend(f"{'GPU':<14} {device}" for device in gpu["devices"] or ["none found"])
    if gpu["torch"] is not None:
        usable = {None: "no GPU to use", True: "can use the GPU", False: "cannot use the GPU"}[gpu["torch_cuda"]]
        text.append(f"{'PyTorch':<14} {gpu['torch']}, {usable}")
    return text
