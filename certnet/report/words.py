"""What a run folder says, made fit to be shown: everything in it is somebody else's text, of any type and size."""

from certnet.runtime.fields import MOST, entries
from certnet.runtime.wording import NONE, cleaned, figure

TEXT = 400
"""Most characters of a text."""


def text(value: object, most: int = TEXT) -> str:
    """A text of limited length without control characters; a dash for nothing."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    return cleaned(str(value), most) if isinstance(value, str | int) else NONE


def names(value: object, most: int = MOST) -> list[str]:
    """The texts in a list."""
    return [text(entry, 80) for entry in entries(value, most)]
