"""What a job says of its search, whichever kind it was."""

from dataclasses import dataclass

from certnet.solvers.interface import State


@dataclass(frozen=True, eq=False)
class SearchSummary:
    """The search for a proof of the gap.

    Attributes:
        kind: "signs" for branching on the signs of data points, "subdivision" for cutting the weight space.
        complete: the bound that was asked for is shown.
        can_go_on: a longer search could improve the bound.
        interrupted: by Ctrl-C.
        nodes: tests or relaxations.
        leaves: of the tree that proves the bound.
        price: bound on h(W) over what was asked for.
        steps: Newton steps, 0 where there are none.
        seconds: effort.
        state: what a later search needs to go on, if it can.
    """

    kind: str
    complete: bool
    can_go_on: bool
    interrupted: bool
    nodes: int
    leaves: int
    price: float
    steps: int
    seconds: float
    state: State | None = None
