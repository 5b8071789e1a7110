"""A thread whose floating-point unit flushes subnormal numbers, or rounds in another direction, proves nothing.

The mode is set in a process of its own: through MXCSR (x86), and through ``fesetround`` of the C library.
"""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from certificates import write_certificate
from certificates.arithmetic.machine import require_machine
from certificates.making.assemble import certify, residual_dual
from certnet.jobs.lipschitz import lipschitz_constant
from formulations import TrainingProgram, merge_rows
from tests.certificates.proofs import linear_robustness
from tests.strategies import rng
from tests.verification.problems import random_network

EXAMPLES = Path(__file__).parents[2] / "examples"
FLUSHING = {"FTZ": 0x8000, "DAZ": 0x40, "both": 0x8040, "down": 0x2000, "up": 0x4000, "to zero": 0x6000}
X86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="sets MXCSR, which is of x86")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs mmap with execution and the C library")
SET_MXCSR = """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes([0x0F, 0xAE, 0x17, 0xC3]))  # ldmxcsr [rdi]; ret
load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
def set_mode(bits):
    word = ctypes.c_uint32(0x1F80 | bits)
    load(ctypes.addressof(word))
"""
SET_ROUNDING = """
import ctypes
def set_mode(bits):
    assert ctypes.CDLL(None).fesetround(bits) == 0
"""
EXAMINE = """
import sys
from pathlib import Path
sys.path.insert(0, {examples!r})
import minimal_checker, minimal_robustness_checker
from certificates import check, read_certificate
folder = Path({folder!r})
training = read_certificate(folder / "optimality.cert")
network, slope = read_certificate(folder / "robustness.cert"), read_certificate(folder / "lipschitz.cert")
checks = [lambda how=how: check(training, arithmetic=how) for how in ("auto", "exact", "ball", "float")]
checks += [lambda: check(network), lambda: check(slope)]
second = [
    lambda: minimal_checker.check_file(folder / "optimality.cert"),
    lambda: minimal_robustness_checker.check_file(folder / "robustness.cert"),
]
def verdicts():
    return [str(judge().verdict) for judge in checks] + [judge()[0] for judge in second]
{setter}
for bits in {modes}:
    before = verdicts()
    set_mode(bits)
    after = verdicts()
    figures = [check(training).objective, check(network).margin, check(slope).constant]
    set_mode(0)
    print(*sorted({{*before}}), *sorted({{*after}}), *figures)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Proved certificates of all kinds."""
    path = tmp_path_factory.mktemp("certificates")
    merged = merge_rows(TrainingProgram(rng(1).standard_normal((4, 2)), rng(2).standard_normal((4, 1)), 0.3))
    U, V = np.zeros((2, 0)), np.zeros((1, 0))
    write_certificate(path / "optimality.cert", certify(merged, [residual_dual(merged, U, V)], U, V)[0])
    write_certificate(path / "robustness.cert", linear_robustness())
    bound = lipschitz_constant(random_network(3, inputs=2, width=4), np.array([1.0, -1.0]))
    write_certificate(path / "lipschitz.cert", bound.certificate)
    return path


def verdicts_in_modes(folder: Path, setter: str, modes: list[int]) -> list[list[str]]:
    """For each mode the verdicts before and after it is set, and figures that are reported then."""
    code = EXAMINE.format(examples=str(EXAMPLES), folder=str(folder), setter=setter, modes=modes)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return [line.split() for line in done.stdout.splitlines()]


NOTHING = ["PROVED", "UNKNOWN", "inf", "-inf", "inf"]


def test_this_process_has_the_arithmetic() -> None:
    require_machine()
    require_machine(1000)


@X86
@POSIX
def test_no_checker_proves_in_another_mode(folder: Path) -> None:
    found = verdicts_in_modes(folder, SET_MXCSR, [*FLUSHING.values()])
    assert dict(zip(FLUSHING, found, strict=True)) == dict.fromkeys(FLUSHING, NOTHING)


@POSIX
def test_no_checker_proves_with_directed_rounding(folder: Path) -> None:
    modes = [0x400, 0x800, 0xC00] if platform.machine() == "x86_64" else [0x400000, 0x800000]
    assert verdicts_in_modes(folder, SET_ROUNDING, modes) == [NOTHING] * len(modes)
