"""The checker's import closure: numpy, python-flint, the standard library and our own modules, nothing else."""

import ast
import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
before = set(sys.modules)
import certificates.checker, certificates.container
import certificates.lipschitz, certificates.robustness, certificates.training
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


ROOT = Path(__file__).parents[2]
MOST_LINES = 3454


def source(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def closure(module: str, seen: dict[str, int]) -> dict[str, int]:
    """Our modules that a module imports, itself among them, with their lines."""
    file = source(module)
    if file is None or module in seen:
        return seen
    text = file.read_text()
    seen[module] = len(text.splitlines())
    tree = ast.parse(text)
    # Names of types for annotations alone are not run.
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                closure(name, seen)
    return seen


def test_what_a_check_trusts_is_short() -> None:
    """Lines of all modules that ``certificates.checker`` needs: what a reader has to believe."""
    lines = closure("certificates.checker", {})
    assert sum(lines.values()) <= MOST_LINES, lines
    assert not any("making" in module or module.startswith("certnet") for module in lines)
