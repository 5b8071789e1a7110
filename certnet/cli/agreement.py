"""Whether a certificate is about the data, the network or the property that somebody names: decided exactly."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from certificates import Certificate, Lipschitz, Robustness, fingerprint
from certificates.certificate import FLOAT32, REAL
from certnet.io.dataset import Recipe, Split
from certnet.io.float32 import require_plain
from certnet.io.load_data import load, source_kind
from certnet.io.load_network import read_network
from certnet.io.query import named_files, read_query, semantics_of
from certnet.io.vnnlib import of_one, text_of
from certnet.runtime.wording import listed
from formulations import InputError, TrainingProgram
from formulations.network import ReluNetwork
from formulations.robustness import OutputRow, UnsafeCase

MOST_CLASSES = 20  # Names of classes in a sentence.


def compare_data(certificate: Certificate, data: str) -> dict[str, Any]:
    """Rebuild X and Y from a source as the certificate's recipe says, else all rows, raw; insist on equality.

    Which rows were compared, and what was done to their features, is part of the theorem, and comes back.
    """
    recipe = Recipe(source=data, raw=True, split=False, loss=certificate.loss)
    if "data" in certificate.provenance:
        stored = Recipe.from_json(certificate.provenance["data"])
        recipe = replace(stored, source=data)
        if source_kind(data) != "table":
            recipe = recipe.of_arrays()
    split = load(recipe)
    terms = {name: getattr(certificate, name) for name in ("loss", "hidden_bias", "output_bias")}
    program = TrainingProgram(split.X, split.Y, certificate.gamma, sample_weight=split.sample_weight, **terms)
    given = fingerprint(program.X, program.Y, program.loss.sample_weight)
    certified = fingerprint(certificate.X, certificate.Y, certificate.sample_weight)
    if given != certified:
        raise InputError(
            f"The certificate is about other data: its fingerprint is {certified[:12]}…, that of {data} is "
            f"{given[:12]}…; pass the data it was made from."
        )
    return _rows(split)


def _rows(split: Split) -> dict[str, Any]:
    """Which rows of a source are trained on, and how their features are scaled."""
    recipe, counts = split.recipe, {name: len(X) for name, X, _ in split.parts() if X is not None}
    apart = " and ".join(f"{count} {name}" for name, count in counts.items() if name != "train")
    which = f"all {counts['train']} rows"
    if apart:
        drawn = f"; split with seed {recipe.seed}" if recipe.split else ""
        which = f"the {counts['train']} training rows, without {apart} rows{drawn}"
    each = "an output each (1 or 0)" if split.Y.shape[1] > 1 else "one output (-1 for the first, 1 for the second)"
    targets = "numbers"
    if split.classes is not None:
        targets = f"{len(split.classes)} classes ({listed(split.classes, MOST_CLASSES)}), {each}"
    weights = "1 for every row" if recipe.weight_column is None else f"column {recipe.weight_column!r}"
    weights += "" if recipe.class_weight is None else ", times those that make classes count alike"
    columns = split.columns
    named = recipe.target or (None if columns is None else columns.target)
    if named is not None:
        targets = f"column {named!r}: {targets}"
    features = "raw" if recipe.raw else "standardised: less the mean of these rows, over their deviation"
    if not recipe.raw and columns is not None and columns.flags.any():
        features += "; what is 0 or 1 stays so"
    return {
        "which": which,
        "features": features,
        "notes": list(split.notes),
        "columns": [] if columns is None else list(columns.sentences()),
        "targets": targets,
        "classes": split.classes and list(split.classes),
        "weights": weights,
        "counts": counts,
        "seed": recipe.seed if apart else None,
        "standardised": not recipe.raw,
    }


def compare_network(statement: Robustness | Lipschitz, networks: Sequence[str]) -> list[str]:
    """Insist that the certificate is about the network of this file; returns what is to be said of how it was read."""
    if len(networks) != 1:
        raise InputError("several networks belong to a property that declares them; give it with --property.")
    read, own = read_network(networks[0]), statement.network
    if isinstance(statement, Robustness) and statement.semantics == FLOAT32:
        require_plain(networks[0], read)
    given = read.on() if own.outputs == read.network.outputs else read.with_scores()
    _require_equal(own, given, networks)
    return list(given.notes)


def _require_equal(own: ReluNetwork, given: ReluNetwork, networks: Sequence[str]) -> None:
    names = ("hidden", "hidden_bias", "output", "output_bias")
    if not all(np.array_equal(getattr(given, name), getattr(own, name)) for name in names):
        raise InputError(
            f"The certificate is about another network than {', '.join(networks)}; pass the one it was made for, and "
            "with --property what it was asked."
        )


def compare_property(certificate: Certificate, path: str, networks: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Insist that what the certificate claims implies the property of this file, about these networks if there are any.

    Every case of the file has to lie in one of the certificate's: the box in its region, and where the file's rows hold
    the other's have to. That is decided in rational arithmetic, between the numbers of the two files. Returns the
    number of its cases, and what is to be said of how the networks were read.
    """
    own, notes, semantics = certificate.cases, list[str](), getattr(certificate.statement, "semantics", REAL)
    if networks:
        query = read_query(path, named_files(networks), semantics=semantics)
        cases, notes, asked = query.cases, list(query.network.notes), query.semantics
        _require_equal(certificate.network, query.network, networks)
        if query.network.ending is not None or query.network.off is not None:
            # What is meant lies between the rows for counterexamples and those for proofs.
            cases = tuple(replace(case, stated=None) for case in cases)
    else:
        with text_of(path) as text:
            found = of_one(text)
            cases, asked = found.of(certificate.network).cases, semantics_of(found.networks, semantics)
    if asked != semantics:
        raise InputError(f"{path} is about float32, but the certificate about real numbers; verify it again.")
    for number, case in enumerate(cases):
        # The one at the same place, as a rule.
        if not any(_covers(other, case) for other in [*own[number : number + 1], *own]):
            raise InputError(f"The certificate is about another property than {path}; pass the one it was made for.")
    return len(cases), notes


def _covers(own: UnsafeCase, stated: UnsafeCase) -> bool:
    """Whether the unsafe points of ``stated`` are among those of ``own``: each row of that follows from one of this."""
    a, b = own.region, stated.region
    if stated.is_impossible:
        return True
    if a.has_ball or b.has_ball or a.inputs != b.inputs:
        return False
    # The file's box is rounded to the next float64 numbers, so that comparing with these compares with the exact sides.
    inside = bool((a.lower <= b.lower).all() and (b.upper <= a.upper).all())
    # Rounded rows hold on the box wherever those of the text do.
    given = stated.rows if stated.stated is None else (*stated.rows, *stated.float_rows)
    return inside and all(any(_follows(row, other) for other in given) for row in own.float_rows)


def _follows(row: OutputRow, given: OutputRow) -> bool:
    """Whether ``row`` holds wherever ``given`` does, because it is a multiple of it with no larger constant."""
    if not row.weights:
        return row.constant <= 0
    weights, others = dict(row.weights), dict(given.weights)
    if weights.keys() != others.keys():
        return False
    j, weight = row.weights[0]
    factor = weight / others[j]
    same = factor > 0 and all(weights[k] == factor * value for k, value in others.items())
    return same and row.constant <= factor * given.constant
