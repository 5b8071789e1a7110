"""Kills ``certnet train`` with SIGKILL at random moments, and looks at what a plain reader finds afterwards.

    python -m tests.crash 50            # with the checkpoint interval that users have; about two hours
    python -m tests.crash 50 --every 0.2

After every kill the three files must be one result that the checker accepts, or there must be none; the checkpoint must
be whole, and no older than the interval allows. Every second run goes on from the checkpoint it finds.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certificates import Verdict, check, read_certificate
from certnet.io.network import TwoLayerNetwork
from certnet.jobs.checkpoint import EVERY_SECONDS, read_checkpoint

RESULTS = ("network.npz", "optimality.cert", "report.json")
SLACK = 10.0
"""Seconds in which Python starts, and between two moments at which a running stage of these data can write."""
MAIN = """import sys, certnet.jobs.checkpoint as checkpoint
every = float(sys.argv.pop(1))
if every: checkpoint.EVERY_SECONDS, checkpoint.SHARE = every, 0.5
from certnet.cli import main
sys.exit(main())"""


@dataclass(frozen=True)
class Found:
    """What a kill left.

    Attributes:
        result: there is one.
        checkpoint: seconds that the job had taken when it was written, None without one.
        lost: seconds of this run that no checkpoint knows of.
        hidden: temporary files and folders.
    """

    result: bool
    checkpoint: float | None
    lost: float
    hidden: int


NOTHING = Found(False, None, 0.0, 0)


def inspect(folder: Path, ran: float, earlier: float) -> Found:
    """Read the folder as a user would, after a run of so many seconds that began with a job ``earlier`` seconds old.

    Raises:
        AssertionError: the files are not one result.
    """
    there = [(folder / name).exists() for name in RESULTS]
    assert all(there) or not any(there), f"only {there} of {RESULTS} are there"
    if all(there):
        network = TwoLayerNetwork.load(folder / RESULTS[0])
        certificate = read_certificate(folder / RESULTS[1])
        report = json.loads((folder / RESULTS[2]).read_text(encoding="utf-8"))
        proof = check(certificate)
        assert proof.verdict is Verdict.PROVED, proof.reason
        assert (report["objective"], report["lower_bound"]) == (proof.objective, proof.lower_bound)
        bias = certificate.hidden_bias != "none"
        assert np.array_equal(network.network.program_weights(hidden_bias=bias)[0], certificate.U)
        assert np.array_equal(network.network.output, certificate.V)
    checkpoint = folder / "checkpoint.npz"
    seconds = read_checkpoint(checkpoint).seconds if checkpoint.exists() else None
    lost = ran - max((seconds or 0.0) - earlier, 0.0)
    return Found(all(there), seconds, lost, sum(path.name.startswith(".") for path in folder.iterdir()))


def crash(kills: int, *, every: float = 0.0, seconds: float = 150.0, rows: int = 400, seed: int = 0) -> list[Found]:
    """Kill so many runs of at most so many seconds, and return what each left. ``every`` 0 keeps the interval."""
    choice, generator = random.Random(seed), np.random.default_rng(seed)
    found = []
    with tempfile.TemporaryDirectory() as place:
        data, out = Path(place, "d.npz"), Path(place, "o")
        X = generator.standard_normal((rows, 8))
        np.savez(data, X=X, Y=np.maximum(X[:, :2], 0.0) + 0.3 * generator.standard_normal((rows, 2)))
        begin = [sys.executable, "-c", MAIN, str(every), "train"]
        fresh = [str(data), "--raw", "--no-split", "--task", "regression", "--gamma", "2", "--out", str(out)]
        for number in range(kills):
            goes_on = number % 2 == 1 and (out / "checkpoint.npz").exists()
            earlier = read_checkpoint(out / "checkpoint.npz").seconds if goes_on else 0.0
            options = ["--resume", str(out)] if goes_on else [*fresh, "--method", choice.choice(["sdp", "global"])]
            if not goes_on:
                (out / "checkpoint.npz").unlink(missing_ok=True)
            limit = seconds if number else 0.2 * seconds
            command = [*begin, *options, "--quiet", "--time-limit", f"{limit:g}"]
            started = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                # The first run may end, so that the others have a result to spoil.
                process.wait(choice.uniform(0.0, 1.2 * limit) if number else None)
            except subprocess.TimeoutExpired:
                process.kill()
            process.wait()
            last = inspect(out, time.monotonic() - started, earlier) if out.exists() else NOTHING
            found.append(last)
            if process.returncode != 0:
                assert last.lost <= max(every or EVERY_SECONDS, 1.0) + SLACK, f"{last.lost:.1f} s were lost"
            print(f"{number + 1}: exit {process.returncode}, {last}", flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--every", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    crash(**vars(parser.parse_args()))
