"""Each measurement runs in a fresh process, so that its peak memory is its own: python -m tests.benchmarks._process."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from formulations import InputError
from tests.benchmarks._records import Job, Measurement, failure

ROOT = Path(__file__).resolve().parents[2]
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
LADDER = 8
"""Solves at most that one job makes one after the other, with some room."""
GRACE_SECONDS = 300.0
LAST_WORDS = 300


def run(job: Job, *, threads: int = 1) -> Measurement:
    """Measure in a new process; whatever goes wrong there becomes the measurement's message.

    A process that runs far past its time limit is ended, for a solver may look at its clock only between steps.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "measurement.json"
        try:
            process = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks._process", job.to_text(), str(answer)],
                cwd=ROOT,
                env=_environment(threads),
                capture_output=True,
                text=True,
                timeout=LADDER * job.time_limit + GRACE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return failure(job, "It ran far past its time limit and was ended.", time.perf_counter() - begin)
        seconds = time.perf_counter() - begin
        if not answer.is_file():
            words = process.stderr.strip()[-LAST_WORDS:]
            return failure(job, f"The process ended with code {process.returncode}. {words}", seconds)
        record = json.loads(answer.read_text())
    return failure(job, record["error"], seconds) if "error" in record else Measurement.from_json(record)


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": path}


def main() -> None:
    """Measure the job of the first argument and write the measurement to the file of the second."""
    # Imported here, so that the parent never loads a solver.
    from tests.benchmarks._methods import measure

    text, answer = sys.argv[1:]
    try:
        record = measure(Job.from_text(text)).to_json()
    except (InputError, ValueError, MemoryError) as error:
        record = {"error": str(error) or type(error).__name__}
    Path(answer).write_text(json.dumps(record, allow_nan=False))


if __name__ == "__main__":
    main()
