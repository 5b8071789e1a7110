"""``certnet supports``: what VNN-LIB's solver interface asks a solver about itself."""

import importlib.util

from certnet.cli.output import Exit
from certnet.cli.parsing import argument
from certnet.io.float32 import PLAIN
from certnet.io.onnx_nodes import OPERATIONS
from certnet.io.onnx_operators import ENDS
from certnet.io.output import print_result
from certnet.io.query import GUARANTEED
from formulations import InputError

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


def supports(
    capability: str = argument("CAPABILITY", f"What is asked: {', '.join(CAPABILITIES)}."),
) -> int:
    """Say what certnet can verify, as VNN-LIB's solver interface asks."""
    if capability not in CAPABILITIES:
        raise InputError(f"{capability!r} is none of {', '.join(CAPABILITIES)}; ask for one of them.")
    print_result({}, CAPABILITIES[capability], as_json=False, needed=True)
    return Exit.OK
