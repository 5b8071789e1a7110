"""Certificates with some of their numbers changed, whichever part holds them."""

import dataclasses
import math
from typing import Any

import numpy as np

from certificates import Certificate, Training
from certificates.certificate import TrainingProof


def replace(thing: Any, **changes: Any) -> Any:
    """``dataclasses.replace``; of a certificate also fields of the statement, of the first proof, and claims."""
    if not isinstance(thing, Certificate):
        return dataclasses.replace(thing, **changes)
    parts = {name: getattr(thing, name) for name in ("statement", "proofs", "claims", "provenance")}
    for name, value in changes.items():
        if name in parts:
            parts[name] = value
        elif name in parts["claims"]:
            parts["claims"] = {**parts["claims"], name: value}
        elif name in {field.name for field in dataclasses.fields(parts["statement"])}:
            parts["statement"] = dataclasses.replace(parts["statement"], **{name: value})
        else:
            first, *others = parts["proofs"]
            parts["proofs"] = (dataclasses.replace(first, **{name: value}), *others)
    return Certificate(**parts)


def training_certificate(
    X, Y, data_fingerprint, gamma, W, source, generator, proof, U, V, lower_bound, objective, provenance=None
) -> Certificate:
    """A certificate of training with the squared loss, without biases and weights, from all that it holds."""
    ones, zeros, none = np.ones(len(X)), np.zeros(len(V)), np.zeros(0)
    return Certificate(
        Training(X, Y, gamma, "none", "none", "squared", ones, data_fingerprint),
        (TrainingProof(W, source, generator, proof, U, V, zeros, none),),
        {"lower_bound": lower_bound, "objective": objective},
        provenance or {},
    )


def mutate_entry(random: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """One entry: another digit, another sign, another size, another bit, or no number at all."""
    copy = np.array(array)
    if copy.size == 0:
        return copy
    i = int(random.integers(copy.size))
    if copy.dtype == np.int64:
        copy.flat[i] += random.choice([-1, 1, 2, 7, -100, 2**40])
        return copy
    old = float(copy.flat[i])
    with np.errstate(all="ignore"):
        copy.flat[i] = another_number(random, copy, old)
    return copy


def another_number(random: np.random.Generator, copy: np.ndarray, old: float) -> float:
    match random.integers(9):
        case 0:
            return -old
        case 1:
            return old * (1 + 10.0 ** -random.integers(1, 17))
        case 2:
            return old * (1 - 10.0 ** -random.integers(1, 17))
        case 3:
            return old * random.choice([0.0, 0.1, 0.5, 2.0, 10.0, 1e10])
        case 4:
            return float(random.choice([math.nan, math.inf, -math.inf, 1e308, 5e-324]))
        case 5:
            return old + float(random.standard_normal())
        case 6:
            return math.nextafter(old, math.inf)
        case 7:
            bits = np.array([old]).view(np.uint64) ^ np.uint64(1 << int(random.integers(64)))
            return float(bits.view(np.float64)[0])
        case _:
            return float(copy.flat[int(random.integers(copy.size))])
