"""``certnet optimality``: its options."""

from typing import Annotated

import typer

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import (
    BranchingScheduler,
    BranchingWorkers,
    Job,
    JobLimit,
    Json,
    Nodes,
    Quiet,
    SplitSeed,
    Target,
    Task,
)

SCALING = (
    "PyTorch's weight_decay w (not AdamW's) with MSELoss() on n rows and c outputs is gamma = w·n·c/2, with "
    "MSELoss(reduction='sum') gamma = w/2, with half the sum gamma = w."
)


def optimality(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="A two-layer ReLU network: .npz of certnet's or with U (d×m), V (c×m) and optionally b (m), .onnx, or "
            ".safetensors of a PyTorch state with two Linear layers.",
        ),
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="What it was trained on; as for certnet train.")],
    gamma: Annotated[float, typer.Option(help="Weight decay γ of ½·sum of squares + γ/2·(sum of squared weights).")],
    target: Target = None,
    task: Task = None,
    bias: Annotated[bool, typer.Option("--bias", help="The hidden neurons have a (regularised) bias.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The network was trained on the features as they are; else standardised.")
    ] = False,
    no_split: Annotated[
        bool, typer.Option("--no-split", help="It was trained on all rows; else on 60 % as certnet train does.")
    ] = False,
    seed: SplitSeed = 0,
    gap: Annotated[
        float, typer.Option(help="Relative distance from the best known network at which branching stops.")
    ] = 1e-3,
    time_limit: JobLimit = 50.0,
    nodes: Nodes = None,
    workers: BranchingWorkers = 1,
    scheduler: BranchingScheduler = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Do not look for a better network; the bound may be poor then.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Output folder; runs/optimality/NAME by default.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Job:
    """Prove how far NETWORK is from globally optimal on DATA, and say what would lower its objective."""

    def job() -> int:
        from certnet.cli.optimality import OptimalityOptions, run_optimality
        from certnet.io import Recipe

        recipe = Recipe(
            source=data,
            target=target,
            task=None if task is None else task.value,
            seed=seed,
            raw=raw,
            split=not no_split,
            bias=bias,
        )
        return run_optimality(
            OptimalityOptions(
                network=network,
                recipe=recipe,
                gamma=gamma,
                gap=gap,
                time_limit=seconds_or_none(time_limit),
                nodes=nodes,
                workers=workers,
                scheduler=scheduler,
                train=not no_train,
                out=out,
                json=json,
                quiet=quiet,
            )
        )

    return job
