"""The checker's import closure: numpy, python-flint, the standard library and our own modules, nothing else."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
before = set(sys.modules)
import certificates.checker, certificates.container, certificates.robustness
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
ours = {"certificates", "formulations", "numpy", "flint"}
print(json.dumps(sorted(name for name in loaded if name not in ours and name not in sys.stdlib_module_names)))
banned = ("cvxpy", "picos", "scipy", "torch", "clarabel", "scs", "mosek")
print(json.dumps(sorted(name for name in sys.modules if name.startswith(banned))))
"""


def test_the_checker_imports_no_solver_and_no_modelling_language() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    foreign, forbidden = (json.loads(line) for line in done.stdout.splitlines())
    # Compiled modules of numpy and python-flint register Cython's own run-time helpers.
    assert [name for name in foreign if not name.startswith(("_cython", "cython"))] == []
    assert forbidden == []
