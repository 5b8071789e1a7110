"""Texts that come from files."""


def printable(text: str) -> str:
    """A text from a file, whose control characters cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
