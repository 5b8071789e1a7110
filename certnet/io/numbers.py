"""Numbers as people and spreadsheets write them."""

import re

LARGEST = 1e100
"""Largest size of an entry: squares and products of larger ones are out of range."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """The number that ``text`` spells, or None; NaN, infinities and 1_000 are no numbers here.

    With ``decimal_comma`` a comma is the decimal sign, and a point is still read as one.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if decimal_comma:
        plain = plain.replace(",", ".")
    if _NUMBER.fullmatch(plain) is None:
        return None
    value = float(plain)
    return value if abs(value) < float("inf") else None
