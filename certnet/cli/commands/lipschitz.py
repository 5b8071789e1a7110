"""``certnet lipschitz``: its options."""

from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import Job, Json


def lipschitz(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A two-layer ReLU network: .onnx, .npz or .safetensors.")
    ],
    output: Annotated[int | None, typer.Option(help="One output, counted from 0; all by default.")] = None,
    pair: Annotated[str | None, typer.Option(metavar="I,J", help="The difference of two outputs instead.")] = None,
    plain: Annotated[bool, typer.Option("--lipsdp", help="LipSDP alone, without products of signs.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for the solver of each; 0 for no limit.")] = 60.0,
    certificate: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where the proof is written, with --output or --pair.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampled gradients.")] = 0,
    json: Json = False,
) -> Job:
    """Prove how much outputs change at most, for each unit of change of the input in l2, over all inputs."""

    def job() -> int:
        from certnet.cli.lipschitz import LipschitzOptions, run_lipschitz

        return run_lipschitz(
            LipschitzOptions(
                network=network,
                output=output,
                pair=pair,
                plain=plain,
                time_limit=seconds_or_none(time_limit),
                certificate=certificate,
                seed=seed,
                json=json,
            )
        )

    return job
