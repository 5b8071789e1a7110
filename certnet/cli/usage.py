"""Errors of the command line's parser in one sentence."""

import re
from collections.abc import Sequence

_NUMBERS = {"valid number": "number", "valid integer": "whole number"}


def usage_sentence(error: Exception, arguments: Sequence[str]) -> str:
    """What is wrong with the arguments, without the wording of the libraries that parse them."""
    text = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    text = " ".join(text.split()).replace("Value error, ", "")
    option = next(iter(re.findall(r"^Invalid value for '(--[a-z-]+)'", text)), None)
    value = None if option is None else _value(option, arguments)
    choices = re.search(r"is not one of (.+?)\.?$", text)
    if value is not None and choices is not None:
        return f"{option} must be one of {choices[1].replace(chr(39), '')}, not {value!r}."
    for words, kind in _NUMBERS.items():
        if value is not None and words in text:
            return f"{option} must be a {kind}, not {value!r}{_hint(value)}."
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _hint(value: str) -> str:
    comma = re.fullmatch(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?", value)
    return f"; write {value.replace(',', '.')} with a decimal point" if comma else ""


def _value(option: str, arguments: Sequence[str]) -> str | None:
    """The last value that was given for an option, as ``--option value`` or ``--option=value``."""
    found = None
    for position, argument in enumerate(arguments):
        if argument == option and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif argument.startswith(f"{option}="):
            found = argument.removeprefix(f"{option}=")
    return found
