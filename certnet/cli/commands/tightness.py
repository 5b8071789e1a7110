"""``certnet tightness``: its options."""

from pathlib import Path
from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json, Quiet, Solver


def tightness(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Output folder of certnet train, or a certificate that it wrote.")
    ],
    solver: Solver = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds for everything, about; 0 for no limit.")] = 60.0,
    tolerance: Annotated[float, typer.Option(help="Relative difference of objective and bound that is none.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> Job:
    """Say how tight the relaxation behind a run is: bound against objective, rank, complete positivity."""

    def job() -> int:
        from certnet.cli.tightness import TightnessOptions, run_tightness

        options = TightnessOptions(
            solver=solver,
            time_limit=seconds_or_none(time_limit),
            tolerance=tolerance,
            seed=seed,
            json=json,
            quiet=quiet,
        )
        return run_tightness(run, options)

    return job
