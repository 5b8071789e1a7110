"""Circuits with the coefficients that exact arithmetic gives them; a certificate holds their supports alone."""

import numpy as np

from certificates.combination import nonnegative_combination
from certificates.failure import ProofFailure
from formulations.arrays import FloatArray
from formulations.circuits import CircuitSet, Supports, signed_rows


def exact_circuits(generators: FloatArray, supports: Supports) -> CircuitSet:
    """The circuits of these supports that hold exactly over the float64 rows, coefficients rounded to nearest.

    Supports that do not determine nonnegative coefficients are left out: so it can be where rows are dependent up to
    rounding only. The ``generators`` (N×d) are the rows that the certificate will name.
    """
    rows = signed_rows(generators)
    targets, coefficients = [], []
    for target, support in supports:
        try:
            c = nonnegative_combination(rows[list(support)], rows[target].tolist(), "the circuit")
            values = [float(value) for value in c]
        except (ProofFailure, OverflowError):
            continue
        full = np.zeros(len(rows))
        full[list(support)] = values
        targets.append(target)
        coefficients.append(full)
    return CircuitSet(np.array(targets, dtype=np.int64), np.array(coefficients).reshape(len(targets), len(rows)))
