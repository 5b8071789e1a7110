"""Exit codes."""

from enum import IntEnum

from certnet.cli.signals import INTERRUPTED as _INTERRUPTED

CODES = (
    "Exit codes: 0 proved or done, 1 refuted, 2 usage or bad input, 3 unknown, "
    "70 error in certnet itself, 130 interrupted."
)


class Exit(IntEnum):
    """What a calling script may rely on."""

    OK = 0
    REFUTED = 1
    USAGE = 2
    UNKNOWN = 3
    INTERNAL = 70
    INTERRUPTED = _INTERRUPTED
