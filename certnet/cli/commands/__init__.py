"""The commands, each with its options. They only parse; the work is imported when it is called."""

from collections.abc import Callable

from certnet.cli.commands.audit import audit
from certnet.cli.commands.check import check
from certnet.cli.commands.doctor import doctor
from certnet.cli.commands.lipschitz import lipschitz
from certnet.cli.commands.optimality import SCALING, optimality
from certnet.cli.commands.tightness import tightness
from certnet.cli.commands.train import train
from certnet.cli.commands.verify import verify
from certnet.cli.exits import EPILOG
from certnet.cli.options import Job

COMMANDS: dict[str, Callable[..., Job]] = {
    "train": train,
    "optimality": optimality,
    "verify": verify,
    "audit": audit,
    "lipschitz": lipschitz,
    "check": check,
    "tightness": tightness,
    "doctor": doctor,
}
"""In the order in which ``certnet --help`` lists them."""
EPILOGS = dict.fromkeys(COMMANDS, EPILOG) | {"optimality": f"{SCALING} {EPILOG}"}

__all__ = ["COMMANDS", "EPILOGS"]
