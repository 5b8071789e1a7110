"""``certnet check``: its options."""

from pathlib import Path
from typing import Annotated

import typer

from certificates.arithmetic.matrix import Arithmetic
from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json


def check(
    certificates: Annotated[
        list[Path],
        typer.Argument(metavar="CERTIFICATE...", help="Files that certnet train, verify, audit or lipschitz wrote."),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data the certificates must be about; else those inside them are used."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="Network that robustness certificates must be about.")
    ] = None,
    stated: Annotated[
        str | None,
        typer.Option("--property", metavar="FILE", help="VNN-LIB file that robustness certificates must be about."),
    ] = None,
    arithmetic: Annotated[
        Arithmetic,
        typer.Option(help="How to compute: rational, ball or verified floating point; auto aims at about a second."),
    ] = Arithmetic.AUTO,
    time_limit: Annotated[
        float, typer.Option(help="Seconds for each file, after which its proof is given up as UNKNOWN; 0 for no limit.")
    ] = 600.0,
    json: Json = False,
) -> Job:
    """Prove the bounds of certificates again, with no solver."""

    def job() -> int:
        from certnet.cli.check import CheckOptions, run_check

        limit = seconds_or_none(time_limit)
        options = CheckOptions(
            data=data, network=network, stated=stated, arithmetic=arithmetic, time_limit=limit, json=json
        )
        return run_check(certificates, options)

    return job
