"""``certnet verify``: its options."""

from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json, Network, Norm, Target


def verify(
    network: Network,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="PROPERTY|DATA",
            help="A VNN-LIB file, which states what is unsafe; or data as for certnet train, whose classes are to "
            "be kept (test rows where the file has them; features as they are in the file).",
        ),
    ],
    norm: Annotated[Norm | None, typer.Option(help="With DATA: the norm of the disturbance.")] = None,
    radius: Annotated[float | None, typer.Option(help="With DATA: its largest size, 0 or more.")] = None,
    largest_radius: Annotated[
        float | None,
        typer.Option(metavar="R", help="With DATA, instead of --radius: search for the radius of each row, up to R."),
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="With DATA: rows A to B-1; all by default.")] = None,
    target: Target = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for the whole command; 0 for no limit. By default 60 for a property and none with DATA.",
            show_default=False,
        ),
    ] = None,
    input_limit: Annotated[float, typer.Option(help="With DATA: seconds for each row; 0 for no limit.")] = 60.0,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where the proof is written, if there is one; with DATA a folder."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attack.")] = 0,
    json: Json = False,
) -> Job:
    """Prove that no input is unsafe (unsat), find one (sat), or say unknown or timeout, on the first line."""

    def job() -> int:
        from certnet.cli.verify import VerifyOptions, run_verify

        return run_verify(
            VerifyOptions(
                network=network,
                subject=subject,
                norm=None if norm is None else norm.value,
                radius=radius,
                largest_radius=largest_radius,
                rows=rows,
                target=target,
                time_limit=time_limit,
                input_limit=seconds_or_none(input_limit, "--input-limit"),
                certificate=certificate,
                seed=seed,
                json=json,
            )
        )

    return job
