"""What is true of a training statement: dual values and objectives in rational numbers, logarithms in 60 decimals.

Written from the table in docs/certificate-format.md; of certnet it needs the statement's class alone.
"""

from decimal import Decimal, localcontext
from fractions import Fraction

from certificates import Training
from formulations._validation import FloatArray

DIGITS = 60
ERROR = Fraction(1, 10**50)
"""More than these values are off, for numbers of a common size."""


def _fractions(values: FloatArray) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in values.tolist()]


def _decimal(x: Fraction) -> Decimal:
    return Decimal(x.numerator) / Decimal(x.denominator)


def _entropy(p: Fraction, omega: Fraction) -> Fraction:
    """−p log(p/ω), to about 60 digits; −∞ as an immense number for p < 0."""
    if p < 0:
        return Fraction(-(10**400))
    return Fraction(-_decimal(p) * (_decimal(p) / _decimal(omega)).ln()) if p else Fraction(0)


def true_dual_value(s: Training, W: FloatArray) -> Fraction:
    """``Σ ω_i D(W_i/ω_i) − ‖Wᵀ1‖²/(2γ)``, from the table alone, up to 60 digits; very small off the domain."""
    name, _, parameter = s.loss.partition(":")
    number = Fraction(float(parameter or 1))
    total, off = Fraction(0), Fraction(-(10**400))
    with localcontext(prec=DIGITS):
        for ws, ys, omega in zip(_fractions(W), _fractions(s.Y), map(Fraction, s.sample_weight.tolist()), strict=True):
            for w, y in zip(ws, ys, strict=True):
                if name in ("squared", "huber", "squared-hinge"):
                    total += w * y - w * w / omega / 2
                elif name in ("absolute", "quantile", "hinge"):
                    total += w * y
                elif name == "logistic":
                    total += _entropy(w * y, omega) + _entropy(omega - w * y, omega)
                elif name == "cross-entropy":
                    total += _entropy(omega * y - w, omega)
                else:
                    total += _entropy(omega * y - w, omega) - _entropy(omega * y, omega) - w
                low, high = {
                    "huber": (-number, number),
                    "absolute": (Fraction(-1), Fraction(1)),
                    "quantile": (number - 1, number),
                    "hinge": (min(y, Fraction(0)), max(y, Fraction(0))),
                    "squared-hinge": (min(y, Fraction(0)) * 10**400, max(y, Fraction(0)) * 10**400),
                }.get(name, (w / omega, w / omega))
                total += 0 if low <= w / omega <= high else off
            total += off if name == "cross-entropy" and sum(ws) != 0 else 0
    sums = [sum(column, Fraction(0)) for column in zip(*_fractions(W), strict=True)]
    if "free" in (s.hidden_bias, s.output_bias):
        return total if not any(sums) else off
    square = sum((x * x for x in sums), Fraction(0))
    return total - square / Fraction(s.gamma) / 2 if s.output_bias == "penalised" else total


def true_loss(name: str, f: list[Fraction], y: list[Fraction]) -> Fraction:
    """ℓ of a row, up to 60 digits."""
    kind, _, parameter = name.partition(":")
    number = Fraction(float(parameter or 1))
    with localcontext(prec=DIGITS):
        if kind == "cross-entropy":
            own, most = next(a for a, b in zip(f, y, strict=True) if b), max(f)
            return most - own + Fraction(sum((_decimal(a - most).exp() for a in f), Decimal(0)).ln())
        total = Fraction(0)
        for a, b in zip(f, y, strict=True):
            r, s = b - a, max(1 - a * b, Fraction(0))
            total += {
                "squared": lambda r=r: r * r / 2,
                "huber": lambda r=r: r * r / 2 if abs(r) <= number else number * abs(r) - number * number / 2,
                "absolute": lambda r=r: abs(r),
                "quantile": lambda r=r: max(number * r, (number - 1) * r),
                "hinge": lambda s=s: s,
                "squared-hinge": lambda s=s: s * s / 2,
                "logistic": lambda a=a, b=b: max(-a * b, Fraction(0)) + Fraction((1 + _decimal(-abs(a)).exp()).ln()),
                "poisson": lambda a=a, b=b: Fraction(_decimal(a).exp()) - a * b - _entropy(b, Fraction(1)) - b,
            }[kind]()
    return total


def true_objective(s: Training, U: FloatArray, V: FloatArray, a: FloatArray) -> Fraction:
    """The objective, up to 60 digits."""
    x, v, neurons = _fractions(s.X), _fractions(V), _fractions(U.T)
    shift, total = [Fraction(value) for value in a.tolist()], Fraction(0)
    for row, y, omega in zip(x, _fractions(s.Y), map(Fraction, s.sample_weight.tolist()), strict=True):
        hidden = [max(sum(map(Fraction.__mul__, row, u), Fraction(0)), Fraction(0)) for u in neurons]
        f = [sum(map(Fraction.__mul__, hidden, out), b) for out, b in zip(v, shift, strict=True)]
        total += omega * true_loss(s.loss, f, y)
    paid = [u[:-1] if s.hidden_bias == "free" else u for u in neurons] + v
    paid += [shift] if s.output_bias == "penalised" else []
    return total + Fraction(s.gamma) * sum((value**2 for part in paid for value in part), Fraction(0)) / 2
