"""A second checker for robustness certificates, written from docs/certificate-format.md and from nothing else.

It shares no code with certnet. The container, the split tree, circuits and exact algebra are those of
minimal_checker.py, which lies beside it. All mathematics is exact rational arithmetic, but for square roots, which are
rounded up by a part of 2^-90. Usage: python minimal_robustness_checker.py FILE [FILE ...]
"""

import struct
import sys
from fractions import Fraction
from math import inf, nextafter
from pathlib import Path
from typing import Any

from minimal_checker import (
    MOST_ORDER,
    Cert,
    FailedError,
    Rows,
    arrays,
    dot,
    inequalities,
    is_psd,
    leaves,
    lifted,
    need,
    need_floats,
    need_slices,
    root,
    unpack,
)

NETWORK = "hidden d m d, hidden_bias d m, output d c m, output_bias d c"
# Of one case: L, T, K, … differ from case to case, and get its number below. R is 1 if there is a ball, else 0.
CASE, BALL = "region/lower d d, region/upper d d, H d r c, h d r", "region/centre d d, region/radius d"
GIVEN = "stable q m, mu d L r, margin d"
PROOF = """split q T, children q T 2, leaf q T, pair_offset q L+1, pairs q K 2, multipliers d K, complementarity d L N,
sigma d L R, circuits/target q E, circuits/offset q E+1, circuits/support q Q, triangles/neuron q S,
triangles/bounds d S 2, groups q 0"""
FIXED = {"format": "certnet-certificate", "version": 5, "kind": "robustness"}
MOST_CASES = 200
Case = dict[str, Any]  # the arrays and sizes of a case, and what is derived from them


def load(path: str | Path) -> tuple[Cert, list[Case]]:
    """Read a file: the network, and the cases."""

    def layout(manifest: Cert) -> tuple[dict[str, list[str]], Cert]:
        fine = all(repr(manifest[key]) == repr(value) for key, value in FIXED.items())  # in Python True == 1 == 1.0
        need(fine, "The format, version or kind is unknown.")
        cases = manifest["proofs"]
        need(type(cases) is int and 1 <= cases <= MOST_CASES, "The number of cases is improper.")
        semantics = manifest["statement"].get("semantics", "real")
        need(semantics in ("real", "float32"), "The semantics are unknown.")
        table, sizes = arrays(NETWORK, "statement/network/"), {}
        for i in range(cases):
            place = f"statement/cases/{i}/"
            ball = f"{place}region/centre" in manifest["arrays"]
            sizes[own(i, "R")] = int(ball)
            mine = arrays(f"{CASE}, {BALL}" if ball else CASE, place)
            given = f"{GIVEN}, rounding d r" if semantics == "float32" else GIVEN
            mine |= arrays(given, f"proofs/{i}/") | arrays(PROOF, f"proofs/{i}/proof/")
            table |= {name: [kind, *(own(i, x) for x in letters)] for name, (kind, *letters) in mine.items()}
        return table, sizes

    def own(i: int, letter: str) -> str:
        return letter if letter in "dcm" or letter.isdigit() else f"{i}{letter[0]}_{letter[1:]}"

    manifest, cert = unpack(path, layout)
    place = "statement/network/"
    network = {name.removeprefix(place): value for name, value in cert.items() if name.startswith(place)}
    need(cert["d"] > 0 and cert["c"] > 0, "The network has no input or no output.")
    cases = []
    for i in range(manifest["proofs"]):
        case = {"d": cert["d"], "radius": [], "centre": []}
        case |= {letter: cert[f"{i}{letter}_"] for letter in "RrLTKNES"}
        for name, value in cert.items():
            for prefix, part in ((f"statement/cases/{i}/", "region/"), (f"proofs/{i}/", "proof/")):
                if name.startswith(prefix):
                    case[name.removeprefix(prefix).removeprefix(part)] = value
        need_slices(case)
        cases.append(case)
    return network, cases


def check_region(case: Case) -> None:
    """The region and the rows are as the claim wants them."""
    need(case["r"] > 0, "There is no output row.")
    need(all(a <= b for a, b in zip(case["lower"], case["upper"], strict=True)), "A lower bound is too large.")
    need(all(r >= 0 for r in case["radius"]), "The radius is negative.")


def least(case: Case, q: list[Fraction]) -> Fraction:
    """A lower bound of q·x over the region: the better of those over the box and over the ball."""
    box = sum((min(a * x, a * y) for a, x, y in zip(q, case["lower"], case["upper"], strict=True)), Fraction(0))
    if not case["R"]:
        return box
    return max(box, dot(q, case["centre"]) - case["radius"][0] * root(dot(q, q)))


def preactivations(network: Cert, case: Case) -> None:
    """Condition 1: the bounds of all neurons, the stable ones, and the generators."""
    hidden, bias, stable = network["hidden"], network["hidden_bias"], case["stable"]
    need(all(s in (-1, 0, 1) for s in stable), "stable holds another number than 1, -1 and 0.")
    low = [least(case, row) + b for row, b in zip(hidden, bias, strict=True)]
    high = [b - least(case, [-x for x in row]) for row, b in zip(hidden, bias, strict=True)]
    for i, s in enumerate(stable):
        need((s != 1 or low[i] >= 0) and (s != -1 or high[i] <= 0), f"Neuron {i} is not stable.")
    if "rounding" in case:
        rounding(network, case, high)
    case["kept"] = [i for i, s in enumerate(stable) if s == 0]
    need(len(case["kept"]) == case["N"], "complementarity is about another number of neurons.")
    case["low"], case["high"] = [low[i] for i in case["kept"]], [high[i] for i in case["kept"]]
    case["rows"] = [[*row, b] for row, b in zip(hidden, bias, strict=True)]
    case["generators"] = [case["rows"][i] for i in case["kept"]]


def layer_errors(weights: Rows, bias: list[Fraction], size: list[Fraction], error: list[Fraction]) -> list[Fraction]:
    """What float32 may change of ``weights · s + bias`` for entries of s up to ``size`` and off by ``error``."""
    found = []
    for row, b in zip(weights, bias, strict=True):
        absolute, terms = [abs(x) for x in row], sum(map(bool, row)) + 1
        need(terms <= 1 << 20, "A neuron has too many weights.")
        total, roundings = dot(absolute, size) + abs(b), Fraction(terms, (1 << 24) - terms)
        flushed = (sum(absolute) + sum(size) + 4 * terms) / Fraction(2) ** 126
        lost = roundings * total + (1 + roundings) * flushed + dot(absolute, error)
        need(total + lost <= 2**126, "In float32 the network might overflow.")
        found.append(lost)
    return found


def rounding(network: Cert, case: Case, high: list[Fraction]) -> None:
    """Condition 6: E is large enough, and is taken off the constants."""
    for name in ("hidden", "hidden_bias", "output", "output_bias"):
        for x in (x for row in network[name] for x in (row if type(row) is list else [row])):
            fine = abs(x) < 2**128 and struct.unpack("<f", struct.pack("<f", x))[0] == x
            need(fine, "A weight is no float32 number.")
    size = [max(abs(a), abs(b)) for a, b in zip(case["lower"], case["upper"], strict=True)]
    lost = layer_errors(network["hidden"], network["hidden_bias"], size, [Fraction(0)] * len(size))
    reach = [max(x, Fraction(0)) + e if x + e > 0 else Fraction(0) for x, e in zip(high, lost, strict=True)]
    lost = [e if x + e > 0 else Fraction(0) for x, e in zip(high, lost, strict=True)]
    lost = layer_errors(network["output"], network["output_bias"], reach, lost)
    for row, E in zip(case["H"], case["rounding"], strict=True):
        need(dot([abs(x) for x in row], lost) <= E, "E is smaller than what float32 may change.")
    case["h"] = [h - E for h, E in zip(case["h"], case["rounding"], strict=True)]


def region_rows(case: Case) -> Rows:
    """t ≥ 0 and the sides of the box, over z = (x, t)."""
    d = case["d"]
    rows = [[Fraction(j == d) for j in range(d + 1)]]
    for j, (low, high) in enumerate(zip(case["lower"], case["upper"], strict=True)):
        unit = [Fraction(k == j) for k in range(d)]
        rows += [[*unit, -low], [*(-x for x in unit), high]]
    return rows


def triangles(case: Case) -> list[tuple[int, Fraction, Fraction]]:
    """Condition 3: the neuron and the bounds of every triangle."""
    found = []
    for k, (i, (low, high)) in enumerate(zip(case["triangles/neuron"], case["triangles/bounds"], strict=True)):
        fine = 0 <= i < case["N"] and low <= 0 <= high and low < high
        need(fine and low <= case["low"][i] and case["high"][i] <= high, f"Triangle {k} is no valid inequality.")
        found.append((i, low, high))
    return found


def linear_function(network: Cert, case: Case, mu: list[Fraction]) -> tuple[list[Fraction], list[Fraction]]:
    """g of condition 5: its coefficients on α of the unstable neurons, and on z."""
    rows = [dot(mu, list(column)) for column in zip(*case["H"], strict=True)]
    w = [dot(rows, list(column)) for column in zip(*network["output"], strict=True)] or []
    on_z = [Fraction(0)] * case["d"] + [dot(rows, network["output_bias"]) + dot(mu, case["h"]) - case["margin"][0]]
    for weight, s, row in zip(w, case["stable"], case["rows"], strict=True):
        if s == 1 and weight:
            on_z = [x + weight * y for x, y in zip(on_z, row, strict=True)]
    return [w[i] for i in case["kept"]], on_z


def plus(a: list[Fraction], b: list[Fraction], factor: Fraction) -> list[Fraction]:
    """a + factor·b."""
    return [x + factor * y if y else x for x, y in zip(a, b, strict=True)]


def check_leaf(network: Cert, case: Case, leaf: int, signs: dict[int, int]) -> None:
    """Condition 5: all inequalities and g are written in the free coordinates (β_free, z) of the leaf."""
    N, d, known = case["N"], case["d"], case["triangles"]
    phi, free = lifted(case["generators"], signs), [i for i in range(N) if i not in signs]
    zero = [Fraction(0)] * len(free)
    ell = phi + [zero + row for row in case["region"]]
    first = len(ell)
    for circuit in case["circuits"]:
        total = zero + [Fraction(0)] * (d + 1)
        for j, x in circuit.items():
            total = plus(total, phi[j], x)
        ell.append(total)
    last = len(ell)
    for i, low, high in known:
        line = zero + [high * x for x in case["generators"][i]]
        line[-1] -= high * low
        ell.append(plus(line, phi[i], low - high))
    on_alpha, on_z = linear_function(network, case, case["mu"][leaf])
    g = zero + on_z
    for row, x in zip(phi, on_alpha, strict=False):
        g = plus(g, row, x)
    start, end = case["pair_offset"][leaf : leaf + 2]
    pairs, factors, t = case["pairs"][start:end], case["multipliers"][start:end], case["complementarity"][leaf]
    need(len(set(map(tuple, pairs))) == len(pairs), f"Leaf {leaf} lists a pair twice.")
    need(all(0 <= p <= q < len(ell) for p, q in pairs) and all(x >= 0 for x in factors), f"Leaf {leaf}: a pair is bad.")
    sigma = case["sigma"][leaf]
    need(all(s >= 0 for s in sigma), f"Leaf {leaf} has a negative sigma.")
    uses_circuits = any(first <= p < last for pair in pairs for p in pair)
    if all(2 * N in pair for pair in pairs) and not any(t) and not any(sigma) and not uses_circuits:
        for (p, q), x in zip(pairs, factors, strict=True):
            g = plus(g, ell[p if q == 2 * N else q], -x)
        lost = sum((min(rho, Fraction(0)) * max(-case["low"][i], Fraction(0)) for rho, i in zip(g, free, strict=False)))
        need(lost + least(case, g[len(free) : -1]) + g[-1] >= 0, f"The linear function of leaf {leaf} may be negative.")
        return
    size = len(g)
    form = [[Fraction(0)] * size for _ in range(size)]  # not symmetric yet
    form[-1] = list(g)

    def take(a: list[Fraction], b: list[Fraction], factor: Fraction) -> None:
        for i, x in enumerate(a):
            if x and factor:
                form[i] = plus(form[i], b, -factor * x)

    for (p, q), x in zip(pairs, factors, strict=True):
        take(ell[p], ell[q], x)
    for i, x in enumerate(t):
        take(phi[i], phi[N + i], x)
    for s, radius in zip(sigma, case["radius"], strict=True):
        unit = [Fraction(0)] * size
        take([*unit[:-1], Fraction(1)], [*unit[:-1], Fraction(1)], s * radius**2)
        for j, x in enumerate(case["centre"]):
            side = list(unit)
            side[len(free) + j], side[-1] = Fraction(1), -x
            take(side, side, -s)
    need(is_psd([[form[i][j] + form[j][i] for j in range(size)] for i in range(size)]), f"Leaf {leaf} is not proved.")


def check_case(network: Cert, case: Case) -> Fraction:
    """All conditions on one case; what the largest row is at least."""
    check_region(case)
    order = case["N"] + case["d"] + 1
    need(order <= MOST_ORDER, f"The order {order} is too large for exact arithmetic here.")
    preactivations(network, case)
    need(case["margin"][0] > 0, "The margin is not positive.")
    need(all(any(row) and all(x >= 0 for x in row) for row in case["mu"]), "The weights of a leaf are improper.")
    case["region"] = region_rows(case)
    case["circuits"] = inequalities(case, case["generators"])[2 * case["N"] :]
    case["triangles"] = triangles(case)
    for leaf, signs in leaves(case).items():
        check_leaf(network, case, leaf, signs)
    return case["margin"][0] / max(Fraction(1), *map(sum, case["mu"]))


def down(x: Fraction) -> float:
    """The largest float64 number up to x, or one below it: a bound must not be printed as more than it is."""
    nearest = float(x)
    return nearest if nearest <= x else nextafter(nearest, -inf)


def check_file(path: str | Path) -> tuple[str, str]:
    """PROVED or UNKNOWN for a certificate file, with the reason in one sentence."""
    prefix = "Unreadable: "
    try:
        network, cases = load(path)
        prefix = ""
        need_floats()
        margin = min([check_case(network, case) for case in cases])
    except FailedError as error:
        return "UNKNOWN", f"{prefix}{error}"
    except Exception:  # noqa: BLE001 - broken input makes zipfile, zlib, struct and json raise a dozen kinds
        return "UNKNOWN", f"{prefix}This is no proper certificate, or memory ran out."
    where = ", and in every evaluation in float32" if "rounding" in cases[0] else ""
    return "PROVED", f"On every input of every region{where} some row is at least {down(margin)!r}, so none is unsafe."


if __name__ == "__main__":
    codes = set() if sys.argv[1:] else {2}
    for path in sys.argv[1:]:
        verdict, reason = check_file(path)
        print(f"{path}: {verdict}: {reason}", flush=True)
        codes.add(0 if verdict == "PROVED" else 2 if reason.startswith("Unreadable") else 3)
    sys.exit(min(codes - {0}, default=0))  # of several codes the lowest that is not 0
