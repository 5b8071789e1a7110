"""``certnet audit``: its options."""

from enum import StrEnum
from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json, Network, Norm, Quiet, Target


class PartOption(StrEnum):
    """Which rows of the data."""

    TEST = "test"
    TRAIN = "train"
    VALIDATION = "validation"
    ALL = "all"


def audit(
    network: Network,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="As for certnet train; features are taken as they are in the file.")
    ],
    norm: Annotated[Norm, typer.Option(help="The norm of the disturbance.")],
    radii: Annotated[str, typer.Option(metavar="R,R,...", help="Its sizes, positive.")],
    part: Annotated[PartOption, typer.Option(help="Rows to audit.")] = PartOption.TEST,
    limit: Annotated[int | None, typer.Option(help="The first so many of these rows; all by default.")] = None,
    certified_radii: Annotated[
        bool, typer.Option("--certified-radii", help="Search for the largest certified radius of each input too.")
    ] = False,
    certificates: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the proof of each input and radius is written.")
    ] = None,
    target: Target = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the attacks.")] = 0,
    time_limit: Annotated[float, typer.Option(help="Seconds for the whole audit; 0 for no limit.")] = 0.0,
    input_limit: Annotated[float, typer.Option(help="Seconds for each input; 0 for no limit.")] = 60.0,
    workers: Annotated[int, typer.Option(help="Processes that may be used.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, tcp://HOST:PORT, to use instead.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Output folder; runs/audit/NAME by default.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew, also where a journal is in the folder.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Job:
    """Certified and attacked accuracy of NETWORK on DATA; goes on where the same audit was cut short."""

    def job() -> int:
        from certnet.cli.audit import AuditOptions, parse_radii, run_audit
        from certnet.io import Recipe

        return run_audit(
            AuditOptions(
                network=network,
                recipe=Recipe(source=data, target=target, task="classification", seed=seed, raw=True),
                norm=norm.value,
                radii=parse_radii(radii),
                part=part.value,
                limit=limit,
                certified_radii=certified_radii,
                certificates=certificates,
                time_limit=seconds_or_none(time_limit),
                input_limit=seconds_or_none(input_limit, "--input-limit"),
                workers=workers,
                scheduler=scheduler,
                out=out,
                fresh=fresh,
                json=json,
                quiet=quiet,
            )
        )

    return job
