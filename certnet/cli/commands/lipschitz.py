"""``certnet lipschitz``: its options."""

from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json, Network, Norm


def lipschitz(
    network: Network,
    output: Annotated[
        int | None, typer.Option(help="One output, counted from 0; by default each of them, and all of them in l2.")
    ] = None,
    pair: Annotated[str | None, typer.Option(metavar="I,J", help="The difference of two outputs instead.")] = None,
    local: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A constant for each row of these data, on the inputs around it; by default of all outputs in l2. "
            "Data as for certnet verify (test rows where the file has them; features as they are in the file).",
        ),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="With --local: how far around a row, 0 or more.")] = None,
    norm: Annotated[Norm | None, typer.Option(help="With --local: in which norm; l2 by default.")] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="A:B", help="With --local: rows A to B-1; all by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With --local: target column of a CSV file; the last one by default.")
    ] = None,
    plain: Annotated[bool, typer.Option("--lipsdp", help="LipSDP alone, without products of signs.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for all constants together; 0 for no limit.")] = 60.0,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where the proof is written, with --output or --pair; else a folder for all proofs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampled gradients.")] = 0,
    json: Json = False,
) -> Job:
    """Prove how much outputs change at most for each unit of change of the input in l2: anywhere, or near rows."""

    def job() -> int:
        from certnet.cli.lipschitz import LipschitzOptions, run_lipschitz

        return run_lipschitz(
            LipschitzOptions(
                network=network,
                output=output,
                pair=pair,
                local=local,
                radius=radius,
                norm=None if norm is None else norm.value,
                rows=rows,
                target=target,
                plain=plain,
                time_limit=seconds_or_none(time_limit),
                certificate=certificate,
                seed=seed,
                json=json,
            )
        )

    return job
