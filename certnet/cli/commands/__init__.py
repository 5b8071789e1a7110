"""The commands, each with its options. They only parse; the work is imported when it is called."""

import functools
from collections.abc import Callable
from typing import Any

from certnet.cli.commands.audit import audit
from certnet.cli.commands.check import check
from certnet.cli.commands.doctor import doctor
from certnet.cli.commands.lipschitz import lipschitz
from certnet.cli.commands.verify import verify
from certnet.cli.exits import EPILOG
from certnet.cli.optimality import SCALING, optimality
from certnet.cli.options import Job
from certnet.cli.tightness import tightness
from certnet.cli.train import train


def _parsed(command: Callable[..., int]) -> Callable[..., Job]:
    """The command as the parser calls it: the work is only put together, to be done when parsing has ended well."""

    @functools.wraps(command)
    def put_together(**options: Any) -> Job:
        return functools.partial(command, **options)

    return put_together


COMMANDS: dict[str, Callable[..., Job]] = {
    "train": _parsed(train),
    "optimality": _parsed(optimality),
    "verify": verify,
    "audit": audit,
    "lipschitz": lipschitz,
    "check": check,
    "tightness": _parsed(tightness),
    "doctor": doctor,
}
"""In the order in which ``certnet --help`` lists them."""
EPILOGS = dict.fromkeys(COMMANDS, EPILOG) | {"optimality": f"{SCALING} {EPILOG}"}

__all__ = ["COMMANDS", "EPILOGS"]
