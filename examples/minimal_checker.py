"""A second checker for optimality certificates, written from docs/certificate-format.md and from nothing else.

It shares no code with certnet and needs only the standard library. The mathematics is exact rational arithmetic, but
for logarithms and exponentials, which are rounded outwards: nothing to trust, only slowness to bear.
Usage: python minimal_checker.py FILE [FILE ...]
"""

import hashlib
import json
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations
from math import ceil, frexp, isqrt, lcm, ldexp, prod
from pathlib import Path
from typing import Any

# The document's limits are 2 GiB and 64 MiB + 200 times the file. A Fraction takes many times the room of a float64, so
# this checker stops at 64 MiB, inside both. Exact elimination is hopeless long before order 6000.
MOST_BYTES, MOST_MANIFEST, MOST_ORDER = 64 << 20, 1 << 20, 200
MOST_DEPTH, MOST_FEATURES = 1000, 8  # of a subdivision: every cut makes the vertices' fractions longer
# The arrays with type and shape. A letter takes its value where it comes first; Q is a free length.
DATA, GIVEN = (
    "X d n d, Y d n c, sample_weight d n",
    "W d n c, source q N, generator q n, U d d m, V d c m, output d c, ball d B",
)
PRODUCTS = """split q T, children q T 2, leaf q T, pair_offset q L+1, pairs q K 2, multipliers d K,
complementarity d L N, sigma d L S, circuits/target q E, circuits/offset q E+1, circuits/support q Q,
triangles/neuron q 0, triangles/bounds d 0 2, groups q G"""
CUTS = "basis d d d, codes q T, positions d K, sigma d S"  # of a subdivision
SLICES = {"pair_offset": "pairs", "circuits/offset": "circuits/support"}
FIXED, BIASES = {"format": "certnet-certificate", "version": 5, "kind": "training", "proofs": 1}, "none penalised free"
LOSSES = "squared|absolute|squared-hinge|hinge|logistic|cross-entropy|poisson"
NUMBER = r"(huber|quantile):([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
ERROR = Fraction(1, 10**60)  # more than the relative error of a logarithm or exponential times a weight
Rows = list[list[Fraction]]
Cert = dict[str, Any]  # arrays by name, sizes by letter, and the manifest's numbers
Vertex = tuple[list[Fraction], list[Fraction], list[Fraction]]  # v, a_g·v for every generator, and f(v)


class FailedError(Exception):
    """A condition does not hold; the text says which."""


def need(condition: object, reason: str) -> None:
    """Fail with the reason unless the condition holds."""
    if not condition:
        raise FailedError(reason)


def need_floats() -> None:
    """Fail unless this thread reads and prints float64 numbers well: to nearest, and with subnormal ones."""
    one, half, least = struct.unpack("<3d", struct.pack("<3q", 1023 << 52, 970 << 52, 1))  # 1, 2^-53 and 2^-1074
    bits = struct.pack(
        "<6d", one + half, -one - half, half * 1.5 + one, -half * 1.5 - one, least * one, 0.5 * 3 * least
    )
    right = struct.pack("<6Q", 1023 << 52, 3071 << 52, (1023 << 52) + 1, (3071 << 52) + 1, 1, 2)
    need(bits == right, "This thread rounds in another direction or flushes subnormal numbers.")


def unpack(path: str | Path, layout: Callable[[Cert], tuple[dict[str, list[str]], Cert]]) -> tuple[Cert, Cert]:
    """Read a file's manifest, and its arrays and their sizes. Members are unpacked only if they are small enough.

    From the manifest ``layout`` tells the type and the letters of each array, and the sizes that are known.
    """
    need(Path(path).is_file() and Path(path).stat().st_size <= 2 * MOST_BYTES, "There is no file of a proper size.")
    with zipfile.ZipFile(path) as archive:
        members = {info.orig_filename: info for info in archive.infolist()}
        need("manifest.json" in members and len(archive.infolist()) == len(members), "A member is missing or repeated.")
        fine = all(info.compress_type in (0, 8) and not info.flag_bits & 1 for info in members.values())
        fine = fine and sum(info.file_size for info in members.values()) <= MOST_BYTES
        need(fine and members["manifest.json"].file_size <= MOST_MANIFEST, "A member is too large or oddly packed.")
        manifest = json.loads(
            archive.read("manifest.json").decode("utf-8"),
            parse_constant=lambda _: int(""),  # raises ValueError at NaN and Infinity, and below at a repeated key
            object_pairs_hook=lambda items: dict(items) if len(dict(items)) == len(items) else int(""),
        )
        table, cert = layout(manifest)
        fine = members.keys() == {"manifest.json"} | {f"arrays/{name}.bin" for name in table}
        need(fine, "A member is missing or has another name.")
        fine = type(manifest["provenance"]) is dict and manifest["arrays"].keys() == table.keys()
        need(fine, "The manifest has no proper entries.")
        for name, (kind, *letters) in table.items():
            raw, entry = archive.read(f"arrays/{name}.bin"), manifest["arrays"][name]
            need(hashlib.sha256(raw).hexdigest() == entry["sha256"], f"The SHA-256 of {name} is another.")
            shape = entry["shape"]
            fine = entry["dtype"] == {"d": "<f8", "q": "<i8"}[kind] and [type(k) for k in shape] == [int] * len(letters)
            need(fine and min([0, *shape]) >= 0 and 8 * prod(shape) == len(raw), f"The type or shape of {name} is odd.")
            for letter, k in zip(letters, shape, strict=True):
                base, k = letter.removesuffix("+1"), k - letter.endswith("+1")
                fine = k == (int(base) if base.isdigit() else cert.setdefault(base, k))
                need(fine or base != "0", f"{name} has to be empty here.")
                need(fine, f"The shape of {name} does not fit the others.")
            # Fraction raises ValueError or OverflowError for what is not finite.
            values: list[Any] = [*map({"d": Fraction, "q": int}[kind], struct.unpack(f"<{len(raw) // 8}{kind}", raw))]
            for w in shape[1:]:
                values = [values[i * w : i * w + w] for i in range(shape[0])]
            cert[name] = values
    return manifest, cert


def arrays(text: str, prefix: str = "") -> dict[str, list[str]]:
    """A table of arrays by name."""
    return {prefix + name: rest for name, *rest in map(str.split, text.split(","))}


def need_slices(cert: Cert) -> None:
    """Fail unless all offsets of a proof cut what they should."""
    for name, end in SLICES.items():
        fine = cert[name][:1] == [0] and cert[name][-1] == len(cert[end]) and cert[name] == sorted(cert[name])
        need(fine, f"{name} does not cut {end} into slices.")


def load(path: str | Path) -> Cert:
    """Read a file of an optimality certificate."""

    def layout(manifest: Cert) -> tuple[dict[str, list[str]], Cert]:
        fine = all(repr(manifest[key]) == repr(value) for key, value in FIXED.items())  # in Python True == 1 == 1.0
        need(fine, "The format, version or kind is unknown.")
        proof = PRODUCTS if "proofs/0/proof/split" in manifest["arrays"] else CUTS
        return arrays(DATA, "statement/") | arrays(GIVEN, "proofs/0/") | arrays(proof, "proofs/0/proof/"), {}

    manifest, cert = unpack(path, layout)
    cert = {key.removeprefix("statement/").removeprefix("proofs/0/").removeprefix("proof/"): cert[key] for key in cert}
    need(min(cert[key] for key in "ndc") > 0, "n, d or c is not positive.")
    stated = manifest["statement"]
    numbers = {"gamma": stated["gamma"]} | {key: manifest["claims"][key] for key in ("lower_bound", "objective")}
    need(all(type(x) in (int, float) for x in numbers.values()), "gamma or a claim is no number.")
    cert |= {key: Fraction(float(x)) for key, x in numbers.items()} | {"fingerprint": stated["data_fingerprint"]}
    cert |= {key: stated[key] for key in ("hidden_bias", "output_bias", "loss")}
    need(all(type(cert[key]) is str for key in ("hidden_bias", "output_bias", "loss")), "A bias or loss is no text.")
    if "split" in cert:
        need_slices(cert)
    return cert


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """The inner product."""
    return sum((x * y for x, y in zip(a, b, strict=True) if x and y), Fraction(0))


def combination(vectors: Rows, target: list[Fraction], reason: str) -> list[Fraction]:
    """The coefficients of target in the vectors; fails if these are dependent or do not span it."""
    need(len(vectors) <= len(target), reason)  # else dependent; a hostile file gets no huge elimination
    table, s = [list(column) for column in zip(*vectors, target, strict=True)], len(vectors)
    for k in range(s):
        table[k:] = sorted(table[k:], key=lambda row: not row[k])  # a row with a pivot comes first
        need(table[k][k], reason)
        table[k] = [x / table[k][k] for x in table[k]]
        for i, row in enumerate(table):
            if i != k and row[k]:
                table[i] = [x - row[k] * y for x, y in zip(row, table[k], strict=True)]
    need(not any(row[s] for row in table[s:]), reason)
    return [row[s] for row in table[:s]]


def is_psd(matrix: Rows) -> bool:
    """Whether a symmetric matrix is positive semidefinite: LDLᵀ by Bareiss, where // leaves no remainder."""
    common = lcm(*(x.denominator for row in matrix for x in row))
    upper, last = [[int(x * common) for x in row[i:]] for i, row in enumerate(matrix)], 1
    for k, top in enumerate(upper):
        if top[0] < 0 or (top[0] == 0 and any(top)):
            return False
        for i in range(k + 1, len(upper) if top[0] else 0):
            upper[i] = [(top[0] * x - top[i - k] * y) // last for x, y in zip(upper[i], top[i - k :], strict=True)]
        last = top[0] or last
    return True


def merge(cert: Cert) -> tuple[Rows, Rows]:
    """Condition 2, and W̃ of condition 6: the generators and the merged dual point."""
    X, generators, dual = cert["X"], [], [[Fraction(0)] * cert["c"] for _ in range(2 * cert["N"])]
    for g, s in enumerate(cert["source"]):
        need(0 <= s < cert["n"] and cert["generator"][s] == g and any(X[s]), f"Generator {g} has no proper source.")
        e = frexp(max(map(abs, X[s])))[1] - 1
        exact = all(ldexp(ldexp(x, -e), e) == x for x in X[s])  # a small entry may lose bits
        generators.append([x / Fraction(2) ** (e if exact else 0) for x in X[s]])
    for i, (g, x, w) in enumerate(zip(cert["generator"], X, cert["W"], strict=True)):
        sound = any(x) if g >= 0 else not (any(x) and any(w))  # without W a row has no part
        need(-1 <= g < cert["N"] and sound, f"Row {i} has no proper generator.")
        if g >= 0:
            kappa = combination([generators[g]], x, f"Row {i} is no multiple of its generator.")[0]
            position = g if kappa > 0 else cert["N"] + g
            dual[position] = [a + abs(kappa) * b for a, b in zip(dual[position], w, strict=True)]
    return generators, dual


def inequalities(cert: Cert, generators: Rows) -> list[dict[int, Fraction]]:
    """Condition 4: every inequality as a linear form in φ, by position."""
    rows = generators + [[-x for x in a] for a in generators]
    found, cuts = [{p: Fraction(1)} for p in range(len(rows))], cert["circuits/offset"]
    for i, k in enumerate(cert["circuits/target"]):
        support, reason = cert["circuits/support"][cuts[i] : cuts[i + 1]], f"Circuit {i} is no valid inequality."
        need(all(0 <= j < len(rows) for j in (k, *support)) and k not in support, reason)
        solved = combination([rows[j] for j in support], rows[k], reason)
        need(all(x >= 0 for x in solved), reason)
        # As φ ≥ 0, a coefficient may be rounded up. Without it, long denominators make the elimination far slower.
        short = [x if x.denominator < 1 << 32 else Fraction(ceil(x * (1 << 128)), 1 << 128) for x in solved]
        found.append(dict(zip(support, short, strict=True)) | {k: Fraction(-1)})
    return found


def leaves(cert: Cert, outputs: int = 0) -> dict[int, dict[int, int]]:
    """Condition 5: the leaves, each with the signs that its path fixes; those of outputs come after the neurons'."""
    found, nodes, stack = dict[int, dict[int, int]](), set[int](), [(0, dict[int, int]())]
    while stack:
        node, signs = stack.pop()
        need(0 <= node < cert["T"] and node not in nodes, "The split tree is no tree.")
        nodes.add(node)
        (active, inactive), i, number = cert["children"][node], cert["split"][node], cert["leaf"][node]
        if i == -1:
            fine = active == inactive == -1 and 0 <= number < cert["L"] and number not in found
            found[number] = signs
        else:
            fine = 0 <= i < cert["N"] + outputs and i not in signs and number == -1
            stack += [(active, signs | {i: 1}), (inactive, signs | {i: -1})]
        need(fine, f"Node {node} of the split tree is improper.")
    need(len(nodes) == cert["T"] and len(found) == cert["L"], "Nodes or leaves are out of the root's reach.")
    return found


def lifted(generators: Rows, signs: dict[int, int]) -> Rows:
    """α and β on a leaf, in its free coordinates (β_free, u)."""
    free = [i for i in range(len(generators)) if i not in signs]
    units = [[Fraction(i == k) for k in free] for i in range(len(generators))]
    phi = [unit + [x * (signs.get(i, 1) > 0) for x in generators[i]] for i, unit in enumerate(units)]
    return phi + [unit + [-x * (signs.get(i, 1) < 0) for x in generators[i]] for i, unit in enumerate(units)]


def cost(cert: Cert, sigma: list[Fraction]) -> Rows:
    """The matrix of γ²‖u‖², with a free hidden bias b of ``γ²‖u‖² − σ(R²‖u‖² − (b + u·x̄)²)``."""
    d, (*centre, square) = cert["d"], cert["ball"] or [Fraction(0)]
    diagonal = [cert["gamma"] ** 2] * d
    if not sigma:
        return [[x * (i == j) for j in range(d)] for i, x in enumerate(diagonal)]
    need(sigma[0] >= 0, "sigma is negative.")
    row, diagonal = [*centre, Fraction(1)], [x - sigma[0] * square for x in diagonal[:-1]] + [Fraction(0)]
    return [[diagonal[i] * (i == j) + sigma[0] * x * y for j, y in enumerate(row)] for i, x in enumerate(row)]


def slack(cert: Cert, generators: Rows, square: Rows, quadratic: Rows, signs: dict[int, int]) -> Rows:
    """Twice the matrix of the cost minus the quadratic form in φ, in the free coordinates of a leaf."""
    phi, free = lifted(generators, signs), cert["N"] - sum(i < cert["N"] for i in signs)
    columns = [[row[k] for row in phi] for k in range(free + cert["d"])]
    images = [[dot(row, column) for row in quadratic] for column in columns]
    form = [[dot(column, image) for image in images] for column in columns]  # not symmetric yet
    square = [[Fraction(0)] * len(form)] * free + [[Fraction(0)] * free + row for row in square]
    return [[2 * square[j][k] - x - form[k][j] for k, x in enumerate(row)] for j, row in enumerate(form)]


def products(cert: Cert, generators: Rows, dual: Rows) -> None:
    """Conditions 3 to 6: a proof by products of inequalities on the leaves of a tree of signs."""
    N, order = cert["N"], cert["N"] + cert["d"]
    need(order <= MOST_ORDER, f"The order {order} is too large for exact arithmetic here.")
    known = inequalities(cert, generators)
    gram = [[dot(a, b) for b in dual] for a in dual]
    for leaf, signs in leaves(cert, cert["c"]).items():
        start, end = cert["pair_offset"][leaf : leaf + 2]
        pairs = cert["pairs"][start:end]
        need(len(set(map(tuple, pairs))) == len(pairs), f"Leaf {leaf} lists a pair twice.")
        given = [signs.get(N + k, 0) for k in range(cert["c"] if max(cert["split"]) >= N else 0)]  # signs of outputs
        rows = known + [{i: sign * row[k] for i, row in enumerate(dual)} for k, sign in enumerate(given)]
        quadratic = [list(row) for row in gram]
        for (p, q), multiplier in zip(pairs, cert["multipliers"][start:end], strict=True):
            need(0 <= p <= q < len(rows) and multiplier >= 0, f"Leaf {leaf} has an improper pair or multiplier.")
            for i, x in rows[p].items():
                for j, y in rows[q].items():
                    quadratic[i][j] += multiplier * x * y
        for i, t in enumerate(cert["complementarity"][leaf]):
            quadratic[i][N + i] += t
        square = cost(cert, cert["sigma"][leaf])
        need(is_psd(slack(cert, generators, square, quadratic, signs)), f"The form of leaf {leaf} is not semidefinite.")


def short(x: Fraction) -> Fraction:
    """x rounded down to a multiple of 2^-100 times its own size: long fractions are slow."""
    scale = Fraction(2) ** (100 + x.denominator.bit_length() - abs(x.numerator).bit_length())
    return (x * scale).__floor__() / scale


def root(x: Fraction) -> Fraction:
    """The square root rounded up: the result r has x ≤ r² ≤ x(1 + 2^-90)."""
    scale = Fraction(2) ** (100 + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    return (isqrt((x * scale * scale).__ceil__() - 1) + 1) / scale if x else x


def is_copositive(matrix: Rows) -> bool:
    """Whether tᵀMt ≥ 0 for all t ≥ 0. If not, a minimum on the simplex of least support S has λ < 0 and solves
    M_SS t = λ·1, where M_SS is regular as S is least; so some M_SS t = -1 has one solution and that is ≥ 0."""
    for size in range(1, len(matrix) + 1):
        for S in combinations(range(len(matrix)), size):
            block = [[matrix[i][j] for j in S] for i in S]
            if all(min(row) < 0 for row in block):  # else no t ≥ 0 makes every entry of M_SS t negative
                try:
                    if min(combination(block, [Fraction(-1)] * size, "")) >= 0:
                        return False
                except FailedError:
                    continue
    return True


def leaf_holds(cert: Cert, price: Rows, weights: Rows, vertices: list[Vertex]) -> bool:
    """Whether ‖f(u)‖² ≤ uᵀPu on a cone is shown by its matrix M. Here p is no unit vector; square is its p·p."""
    V, P = [v for v, _, _ in vertices], [image for _, _, image in vertices]
    paid, zero = [[dot(line, v) for line in price] for v in V], [Fraction(0)] * len(V)
    size = [root(max(dot(a, v), Fraction(0))) or Fraction(1) for a, v in zip(paid, V, strict=True)]
    p = [short(sum(x / r for x, r in zip(column, size, strict=True))) for column in zip(*P, strict=True)]
    p = p if any(p) else [Fraction(1)] * cert["c"]
    square, along, spread, y = dot(p, p), [dot(p, x) for x in P], [zero, zero], zero
    for w, values in zip(weights, zip(*(values for _, values, _ in vertices), strict=True), strict=True):
        if min(values) < 0 < max(values):
            positive, negative = [max(x, Fraction(0)) for x in values], [max(-x, Fraction(0)) for x in values]
            sigma, pw = positive if sum(positive) < sum(negative) else negative, dot(p, w)
            norm = root(dot(w, w) - pw * pw / square)
            y = [b + norm * s for b, s in zip(y, sigma, strict=True)]
            spread[pw > 0] = [b + abs(pw) * s for b, s in zip(spread[pw > 0], sigma, strict=True)]
    x = [max(a + low, high - a, Fraction(0)) for a, low, high in zip(along, *spread, strict=True)]
    across = [[b - a * e / square for b, e in zip(row, p, strict=True)] for a, row in zip(along, P, strict=True)]
    above = sum((b * b / r**2 for b, r in zip(y, size, strict=True)), Fraction(0))
    below = sum((dot(q, q) / r**2 for q, r in zip(across, size, strict=True)), Fraction(0))
    eta = min(max(short(root(above / below)), Fraction(1, 10**8)), Fraction(10**4)) if below else Fraction(10**4)
    matrix, parts = [], list(zip(V, x, across, y, strict=True))
    for cost_of, (_, a, q, e) in zip(paid, parts, strict=True):
        row = [dot(cost_of, u) - a * b / square for u, b, _, _ in parts]
        lost = [(1 + eta) * dot(q, r) + (1 + 1 / eta) * e * f for _, _, r, f in parts]
        matrix.append([short(b - f) for b, f in zip(row, lost, strict=True)])
    return is_copositive(matrix)  # rounded down, so the exact matrix is copositive as well


def subdivision(cert: Cert, generators: Rows, dual: Rows) -> None:
    """The section "Subdivision": every leaf of the trees holds, and the leaves cover the space."""
    d, codes, positions = cert["d"], iter(cert["codes"]), iter(cert["positions"])
    need(d <= MOST_FEATURES, f"A subdivision has at most {MOST_FEATURES} features.")
    columns = [list(column) for column in zip(*cert["basis"], strict=True)]
    combination(columns, columns[0], "The basis is singular.")
    price = cost(cert, cert["sigma"])
    images = [list(column) for column in zip(*dual, strict=True)] or [[]] * cert["c"]
    weights = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(dual, dual[cert["N"] :], strict=False)]

    def vertex(v: list[Fraction]) -> Vertex:
        values = [dot(a, v) for a in generators]
        parts = [max(x, Fraction(0)) for x in [*values, *(-x for x in values)]]
        return v, values, [dot(parts, column) for column in images]

    ends = [[vertex([x if sign else -x for x in b]) for sign in (0, 1)] for b in columns]
    for r in range(1 << d):
        stack: list[tuple[int, list[Vertex]]] = [(0, [ends[j][r >> j & 1] for j in range(d)])]
        while stack:
            depth, cone = stack.pop()
            code = next(codes, -2)  # -2 is no code: the tree ends too early
            if code == -1:
                need(leaf_holds(cert, price, weights, cone), f"The bound does not hold on a leaf of cone {r}.")
                continue
            (a, b), theta = divmod(code, d), next(positions, Fraction(0))
            need(0 <= code < d * d and a != b and 0 < theta < 1, f"A cut in cone {r} is improper or missing.")
            need(depth < MOST_DEPTH, "A tree is too deep for exact arithmetic here.")
            m = vertex([(1 - theta) * x + theta * y for x, y in zip(cone[a][0], cone[b][0], strict=True)])
            halves = [[m if j == k else w for j, w in enumerate(cone)] for k in (a, b)]
            stack += [(depth + 1, halves[1]), (depth + 1, halves[0])]  # the first child is taken first
    need(next(codes, None) is next(positions, None) is None, "Nodes or positions are left over.")


def loss_named(cert: Cert) -> tuple[str, Fraction]:
    """The loss and its parameter, δ or τ."""
    found = re.fullmatch(NUMBER, cert["loss"])
    need(found or cert["loss"] in LOSSES.split("|"), "The loss is unknown.")
    name, number = (found[1], Fraction(float(found[2]))) if found else (cert["loss"], Fraction(1, 2))
    need(number > 0 and (name != "quantile" or number < 1), "The parameter of the loss is out of range.")
    return name, number


def log(x: Fraction) -> Fraction:
    """log x, up to 10^-78 (1 + |log x|): Decimal rounds every step correctly."""
    with localcontext(prec=80):
        return Fraction((Decimal(x.numerator) / Decimal(x.denominator)).ln())


def exp(x: Fraction) -> Fraction:
    """e^x, up to 10^-70 for x ≤ 0, and up to a part 10^-70 for x ≤ 10^8; beyond it overflows."""
    with localcontext(prec=80):
        return Fraction((Decimal(x.numerator) / Decimal(x.denominator)).exp())


def entropy(p: Fraction, weight: Fraction, side: int) -> Fraction:
    """−p log(p/ω), rounded up or down."""
    return Fraction(0) if p in (0, weight) else -p * log(p / weight) + side * ERROR * p


def earned(cert: Cert, slopes: list[Fraction], y: list[Fraction], weight: Fraction) -> Fraction:
    """ω D(w/ω) of a row, rounded down; fails outside the domain."""
    (kind, number), total = loss_named(cert), Fraction(0)
    need(kind != "cross-entropy" or sum(slopes) == 0, "A row of W does not sum to 0.")
    for w, t in zip(slopes, y, strict=True):
        q, p, at = w * t, weight * t - w, w / weight
        inside = {"huber": abs(at) <= number, "absolute": abs(at) <= 1, "quantile": number - 1 <= at <= number}
        inside |= dict.fromkeys(("hinge", "logistic"), 0 <= q <= weight) | {"squared-hinge": q >= 0}
        inside |= dict.fromkeys(("cross-entropy", "poisson"), p >= 0)
        need(inside.get(kind, True), "An entry of W is outside the domain of the loss.")
        if kind == "logistic":
            total += entropy(q, weight, -1) + entropy(weight - q, weight, -1)
        elif kind == "cross-entropy" or (kind == "poisson" and w):
            total += entropy(p, weight, -1) - (entropy(weight * t, weight, 1) + w) * (kind == "poisson")
        elif kind != "poisson":
            total += q - w * at / 2 * (kind in ("squared", "huber", "squared-hinge"))
    return total


def lost(cert: Cert, f: list[Fraction], y: list[Fraction]) -> Fraction:
    """The loss of a row, rounded up where it is no rational number."""
    (kind, number), total = loss_named(cert), Fraction(0)
    if kind == "cross-entropy":
        most = max(f)
        return most - dot(f, y) + log(sum((exp(x - most) for x in f), Fraction(0))) + ERROR
    for x, t in zip(f, y, strict=True):
        r, s = t - x, max(1 - t * x, Fraction(0))
        if kind in ("squared", "huber"):
            total += r * r / 2 if kind == "squared" or abs(r) <= number else number * (abs(r) - number / 2)
        elif kind in ("absolute", "quantile"):
            total += abs(r) if kind == "absolute" else max(number * r, (number - 1) * r)
        elif kind in ("hinge", "squared-hinge"):
            total += s if kind == "hinge" else s * s / 2
        elif kind == "logistic":
            total += max(-t * x, Fraction(0)) + log(1 + exp(-abs(x))) + ERROR
        else:
            total += exp(x) * (1 + ERROR) - t * x - entropy(t, Fraction(1), -1) - t + ERROR
    return total


def need_statement(cert: Cert) -> None:
    """Condition 1: the data, the targets, the weights and the biases are what they have to be."""
    X, Y, omega = cert["X"], cert["Y"], cert["sample_weight"]
    (kind, _), free = loss_named(cert), cert["hidden_bias"] == "free"
    need(all(cert[key] in BIASES.split() for key in ("hidden_bias", "output_bias")), "A bias is of an unknown kind.")
    need(cert["B"] == free * cert["d"] and cert["S"] == free, "The ball or sigma has another shape than it needs.")
    need(cert["gamma"] > 0 and min(omega) > 0, "gamma or a weight is not positive.")
    data = [(len(M), len(M[0]), *(x for row in M for x in row)) for M in (X, Y)]  # a Fraction has no -0.0
    packed = [struct.pack(f"<2q{len(M) - 2}d", *M) for M in data]
    packed += [struct.pack(f"<q{len(omega)}d", len(omega), *omega)] if any(x != 1 for x in omega) else []
    need(
        hashlib.sha256(b"".join(packed)).hexdigest() == cert["fingerprint"], "The fingerprint is not that of the data."
    )
    allowed = {"cross-entropy": (0, 1)} | dict.fromkeys(("hinge", "squared-hinge", "logistic"), (-1, 1))
    fine = all(t in allowed.get(kind, (t,)) and (t >= 0 or kind != "poisson") for row in Y for t in row)
    need(fine and (kind != "cross-entropy" or all(sum(row) == 1 for row in Y)), "A target is not one of this loss.")
    need(cert["hidden_bias"] == "none" or all(row[-1] == 1 for row in X), "The last column of X is not all 1.")
    need(cert["output_bias"] != "none" or not any(cert["output"]), "There is no output bias in the statement.")
    if free:
        *centre, square = cert["ball"]
        gaps = [[a - b for a, b in zip(row, centre, strict=False)] for row in X]
        cert["is_ball"] = all(dot(gap, gap) <= square for gap in gaps)


def decide(cert: Cert) -> tuple[str, str]:
    """The verdict on a well-formed certificate, with a reason."""
    X, Y, W, omega, lower_bound = (cert[key] for key in ("X", "Y", "W", "sample_weight", "lower_bound"))
    need_statement(cert)
    neurons, reached, zero = list(map(list, zip(*cert["U"], strict=True))), Fraction(0), Fraction(0)
    for x, y, weight in zip(X, Y, omega, strict=True):
        hidden = [max(dot(x, u), Fraction(0)) for u in neurons]
        f = [dot(hidden, v) + a for v, a in zip(cert["V"], cert["output"], strict=True)]
        reached += weight * lost(cert, f, y)
        zero += weight * lost(cert, [Fraction(0)] * len(y), y)
    paid = cert["U"][: -1 if cert["hidden_bias"] == "free" else None] + cert["V"]
    paid += [cert["output"]] if cert["output_bias"] == "penalised" else []
    reached += cert["gamma"] * sum(dot(row, row) for row in paid) / 2
    if lower_bound > min(reached, zero):
        return "REFUTED", "The claimed lower bound exceeds the objective of the certificate's or the zero network."
    value = sum((earned(cert, *row) for row in zip(W, Y, omega, strict=True)), Fraction(0))
    sums = [sum(column) for column in zip(*W, strict=True)]
    if "free" in (cert["hidden_bias"], cert["output_bias"]):
        need(not any(sums), "A column of W does not sum to 0, though a bias is free.")
    elif cert["output_bias"] == "penalised":
        value -= dot(sums, sums) / cert["gamma"] / 2
    need(lower_bound <= value, "The dual point has a value below the claimed lower bound.")
    need(reached <= cert["objective"], "The network's objective is above the claimed one.")
    need(cert.get("is_ball", True), "A row of X is outside the ball.")
    generators, dual = merge(cert)
    (subdivision if "codes" in cert else products)(cert, generators, dual)
    return "PROVED", f"No network of any width has an objective below {float(lower_bound)!r}."


def check_file(path: str | Path) -> tuple[str, str]:
    """PROVED, REFUTED or UNKNOWN for a certificate file, with the reason in one sentence."""
    prefix = "Unreadable: "
    try:
        cert, prefix = load(path), ""
        need_floats()
        return decide(cert)
    except FailedError as error:
        return "UNKNOWN", f"{prefix}{error}"
    except Exception:  # noqa: BLE001 - broken input makes zipfile, zlib, struct and json raise a dozen kinds
        return "UNKNOWN", f"{prefix}This is no proper certificate, or memory ran out."


if __name__ == "__main__":
    codes = set() if sys.argv[1:] else {2}
    for path in sys.argv[1:]:
        verdict, reason = check_file(path)
        print(f"{path}: {verdict}: {reason}", flush=True)
        codes.add({"PROVED": 0, "REFUTED": 1}.get(verdict, 2 if reason.startswith("Unreadable") else 3))
    sys.exit(min(codes - {0}, default=0))  # of several codes the lowest that is not 0
