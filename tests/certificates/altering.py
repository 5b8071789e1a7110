"""Certificates with some of their numbers changed, whichever part holds them."""

import dataclasses
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
