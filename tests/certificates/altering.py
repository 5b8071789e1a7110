"""Certificates with some of their numbers changed, whichever part holds them."""

import dataclasses
from typing import Any

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
    X, Y, data_fingerprint, gamma, bias, W, source, generator, proof, U, V, lower_bound, objective, provenance=None
) -> Certificate:
    """A certificate of training from all that it holds."""
    return Certificate(
        Training(X, Y, gamma, bias, data_fingerprint),
        (TrainingProof(W, source, generator, proof, U, V),),
        {"lower_bound": lower_bound, "objective": objective},
        provenance or {},
    )
