"""Wall time and peak memory of every command beside its time limit, from small to large data.

    python -m tests.benchmarks.limits --rows 60,1000,20000 --features 2,50 --limits 5,20 --commands train,check

Prints a row for each run and marks those over 110 % of the limit plus two seconds. Rows that the file of ``--out``
already has are not run again, so that a table grows over several calls. Time is that of the whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SLACK_SHARE, SLACK_SECONDS = 0.1, 2.0
PATIENCE = 120.0
"""Seconds over the limit after which a run is killed."""
PAPER = "--loss squared --no-bias"
QUICK = "--quiet --time-limit 5"
COMMANDS = {
    "train": f"train {{data}} {PAPER} --gamma 10 --out {{out}} --quiet --time-limit {{limit}}",
    "global": f"train {{data}} {PAPER} --gamma 10 --method global --out {{out}} --quiet --time-limit {{limit}}",
    "path": f"train {{data}} {PAPER} --gammas 30,10,3 --out {{out}} --quiet --time-limit {{limit}}",
    "optimality": "optimality {network} {data} --gamma 10 --out {out} --quiet --time-limit {limit}",
    "tightness": "tightness {base}/optimality.cert --quiet --time-limit {limit}",
    "check": "check {base}/optimality.cert --time-limit {limit}",
    "verify": "verify {network} {data} --norm linf --radius 0.01 --rows 0:1 --time-limit {limit}",
    "lipschitz": "lipschitz {network} --time-limit {limit}",
    "audit": "audit {network} {data} --part all --norm l2 --radii 0.1 --limit 50 --out {out} --fresh --quiet "
    "--time-limit {limit}",
}


def write_data(path: Path, n: int, d: int) -> None:
    """Noisy classes of a small network at Gaussian rows."""
    random = np.random.default_rng(0)
    X = random.standard_normal((n, d))
    Y = np.maximum(X @ random.standard_normal((d, 5)) / np.sqrt(d), 0.0) @ random.standard_normal((5, 1))
    noisy = (Y - Y.mean()) / Y.std() + 0.3 * random.standard_normal((n, 1))
    np.savez(path, X_train=X, Y_train=(noisy[:, 0] > 0).astype(np.int64))


def measure(command: str, limit: float) -> dict[str, object]:
    """Run ``certnet command``: seconds and peak MiB of the process with its children, and how it ended."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "certnet", *command.split()], stdout=subprocess.DEVNULL, stderr=errors
        )
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            seconds = time.perf_counter() - begin
            if pid:
                break
            if seconds > limit + PATIENCE:
                process.kill()
            time.sleep(0.02)
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()
    over = seconds > (1.0 + SLACK_SHARE) * limit + SLACK_SECONDS
    return {
        "seconds": round(seconds, 2),
        "MiB": usage.ru_maxrss // 1024,
        "exit": os.waitstatus_to_exitcode(status),
        "over": over,
        "said": words[-1][:100] if words else "",
    }


def main() -> None:
    """Measure what was asked for and is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("rows", "60,300,1000,2000,5000,20000"),
        ("features", "2,10,50"),
        ("limits", "5,20,60"),
        ("commands", ",".join(COMMANDS)),
    ):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--out", type=Path, default=Path("limits.jsonl"))
    options = parser.parse_args()
    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    seen = {tuple(row["case"]) for row in known}
    with tempfile.TemporaryDirectory() as scratch:
        for n in map(int, options.rows.split(",")):
            for d in map(int, options.features.split(",")):
                folder = Path(scratch) / f"{n}-{d}"
                folder.mkdir()
                paths = {"data": folder / "data.npz", "base": folder / "base"}
                paths["network"] = paths["base"] / "network.npz"
                write_data(paths["data"], n, d)
                for limit in map(float, options.limits.split(",")):
                    for name in options.commands.split(","):
                        case = (name, n, d, limit)
                        if case in seen:
                            continue
                        if (
                            any(word in COMMANDS[name] for word in ("{base}", "{network}"))
                            and not paths["base"].exists()
                        ):
                            measure(COMMANDS["train"].format(**{**paths, "out": paths["base"], "limit": 5}), 5.0)
                        found = measure(COMMANDS[name].format(**paths, out=folder / name, limit=limit), limit)
                        with options.out.open("a") as table:
                            table.write(json.dumps({"case": case, **found}) + "\n")
                        print(*case, *found.values(), "OVER" if found["over"] else "", flush=True)


if __name__ == "__main__":
    main()
