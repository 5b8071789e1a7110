"""What people write into the cells of tables: numbers, dates, yes and no, and signs of missing values."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from formulations._validation import FloatArray

Label = str | float
LARGEST = 1e100
"""Largest size of an entry: squares and products of larger ones are out of range."""
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"})
"""Signs of a missing value among numbers and dates, in lower case."""
MISSING_NAME = MISSING - {"none", "-"}
"""Among names "none" and "-" may mean what they say."""
INFINITE = frozenset({"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})
_TRUE = "true yes y t on 1 1.0 wahr ja vrai oui verdadero sí si vero sì verdadeiro sim waar"
_FALSE = "false no n f off 0 0.0 falsch nein faux non falso não nao onwaar nee"
BOOLEANS = {**dict.fromkeys(_TRUE.split(), 1.0), **dict.fromkeys(_FALSE.split(), 0.0)}
"""In seven languages. No single letters but English ones: n and s are also north and south."""
_NUMBER = r"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+"
"""Nothing in it is tried twice: else a long cell of digits with a letter after them would take time with its square."""
_ONE, _SEVERAL = re.compile(_NUMBER), re.compile(rf"(?:{_NUMBER}\n)*+")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{2,4}|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}")
SIZED = re.compile(r"([+-]?)([€$£¥]?)\s?([+-]?[0-9][0-9.,'’\xa0\u202f]{0,20}?)\s?([^\w\s]{1,2}|[A-Za-z]{1,3}[²³23]?|)")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}([,'’\xa0\u202f])[0-9]{3}(?:\1[0-9]{3})*(?:\.[0-9]+)?")
_SWAP = str.maketrans(".,", ",.")
_TIME = re.compile(r"(\d\d?):([0-5]\d)(?::([0-5]\d(?:\.\d{1,9})?))?(?: ?([ap])\.?m\.?)?", re.ASCII | re.IGNORECASE)
ISO = "ISO"
DATE_FORMATS = (
    *(ISO, "%d.%m.%Y", "%d.%m.%y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%Y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
)
"""How dates are written, the first one that fits all cells of a column counts; each may be followed by a time."""
_TIMES = ("", " %H:%M", " %H:%M:%S")
_FIRST = 100
EXACT = 2.0**53
"""From here on different whole numbers can be the same float64 number; as names they stay what is written."""
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_number(text: str, *, decimal_comma: bool = False) -> float | None:
    """The number that ``text`` spells, infinite beyond float64, or None; NaN, words and 1_000 are no numbers here.

    With ``decimal_comma`` a comma is the decimal sign, and a point is still read as one.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if decimal_comma:
        plain = plain.replace(",", ".")
    return float(plain) if _ONE.fullmatch(plain) else None


def quantity(text: str, *, decimal_comma: bool = False) -> tuple[float, str] | None:
    """A number and its unit, "" where it has none: also ``5 kg``, ``€ 3.50`` and ``1,200.50``; else None.

    With ``decimal_comma`` points separate thousands as in ``1.200,50``; a single one before three digits and a unit
    could mean either, and is None. What begins with 0 is no group of digits: ``0,125`` is no number with a point.
    """
    number = parse_number(text, decimal_comma=decimal_comma)
    if number is not None:
        return number, ""
    found = SIZED.fullmatch(text.strip().replace("\N{MINUS SIGN}", "-"))
    if found is None:
        return None
    sign, before, digits, after = found.groups()
    swapped = digits.translate(_SWAP) if decimal_comma else digits
    grouped = _GROUPED.fullmatch(swapped)
    if grouped and decimal_comma and digits.count(".") == 1 and "," not in digits:
        return None
    plain = swapped.replace(grouped[1], "") if grouped else digits.replace(",", ".") if decimal_comma else digits
    number = parse_number(sign + plain)
    return None if number is None else (number, before + after)


def plain_numbers(cells: Sequence[str]) -> FloatArray | None:
    """(n,) the numbers of cells that all spell one no larger than ``LARGEST``, with a point; else None.

    They are those of ``parse_number``, at a tenth of its cost.
    """
    if not _SEVERAL.fullmatch("\n".join((*cells, ""))):
        return None
    try:
        values = np.array([*map(float, cells)])
    except ValueError:  # a cell of several lines
        return None
    return values if (np.abs(values) <= LARGEST).all() else None


def parse_date(text: str, form: str) -> float | None:
    """Days since 1970-01-01 UTC, fractions for times, where ``text`` is a date of this form; else None.

    A time without a zone counts as UTC.
    """
    if form == ISO and not _ISO.fullmatch(text):
        return None
    time = _TIMES[min(text.count(":"), 2)]
    try:
        found = datetime.fromisoformat(text) if form == ISO else datetime.strptime(text, form + time)
    except ValueError:
        return None
    days = ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) / _DAY
    return days if is_day(days) else None


def is_day(days: float) -> bool:
    """Whether a date of the years 1 to 9999 lies these days after 1970-01-01; one with a zone may not."""
    return date.min.toordinal() <= days + _EPOCH.toordinal() < date.max.toordinal() + 1


def parse_time(text: str) -> float | None:
    """Hours since midnight where ``text`` is a time of day such as 8:30, 08:30:15 or 8:30 PM; else None."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, half = int(found[1]), found[4]
    if half is not None:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half.lower() == "p" else 0)
    return hours + (60.0 * int(found[2]) + float(found[3] or 0.0)) / 3600.0 if hours < 24 else None


def time_text(hours: float) -> str:
    """The time of day that lies these hours after midnight, to the minute."""
    return "{:02d}:{:02d}".format(*divmod(round(60.0 * hours), 60))


def date_format(counts: Mapping[str, int], enough: float) -> tuple[str | None, str | None]:
    """The form of dates that fits all these cells, or else most and enough of them, and another one that does as well.

    None where there is none. Every cell comes with the number of its rows.
    """
    likely = {cell: count for cell, count in counts.items() if _DATE.match(cell)}
    if sum(likely.values()) < enough:
        return None, None
    # Most forms fit none of the first cells; only the others are tried on all.
    first_cells = [*likely][:_FIRST]
    forms = [form for form in DATE_FORMATS if any(parse_date(cell, form) is not None for cell in first_cells)]
    fitting = {form: sum(likely[cell] for cell in likely if parse_date(cell, form) is not None) for form in forms}
    most = max(fitting.values(), default=0)
    if not most or most < enough:
        return None, None
    first, *others = [form for form in forms if fitting[form] == most]
    differing = (form for form in others if any(parse_date(cell, form) != parse_date(cell, first) for cell in likely))
    return first, next(differing, None)


def may_group(text: str) -> bool:
    """Whether all points, or all commas, of a quantity may separate thousands, as in ``1.200`` and ``1,200 kg``."""
    found = SIZED.fullmatch(text.replace("\N{MINUS SIGN}", "-"))
    digits = "" if found is None or {".", ","} <= {*found[3]} else found[3].replace(".", ",")
    return _GROUPED.fullmatch(digits) is not None


def written(form: str) -> str:
    """A form of dates in words, such as ``month/day/year``."""
    return form.replace("%d", "day").replace("%m", "month").replace("%Y", "year").replace("%y", "year")


def example_date(form: str) -> str:
    return "2024-05-31" if form == ISO else datetime(2024, 5, 31, tzinfo=UTC).strftime(form)


def date_text(days: float) -> str:
    """The date that lies these days after 1970-01-01, without the time."""
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def class_name(label: Label) -> str:
    """A label as text, whole numbers without a decimal point."""
    if isinstance(label, str):
        return label
    return str(int(label)) if label.is_integer() else repr(label)


def in_order(name: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by size, then texts."""
    number = parse_number(name)
    return number is None, 0.0 if number is None else number, name


def cell_name(cell: str, *, decimal_comma: bool) -> str | None:
    """A cell as a name, None where it is missing; a number is the same name however it is written, below 2^53."""
    if cell.lower() in MISSING_NAME:
        return None
    number = parse_number(cell, decimal_comma=decimal_comma)
    return cell if number is None or abs(number) >= EXACT else class_name(number)
