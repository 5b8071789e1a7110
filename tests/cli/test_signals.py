"""Signals of the process: heard within a second, served like Ctrl-C, and obeyed at once the second time."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate
from certnet.cli.signals import INTERRUPTED, PATIENCE_SECONDS
from tests.cli.support import LISTENING, files, strict
from tests.cli.test_process import environment
from tests.verification.problems import random_network

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals differ there")
SERVED = ["SIGINT", "SIGTERM", "SIGHUP"]


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that hears signals; killed in the end, if that is needed."""
    with subprocess.Popen(
        [*LISTENING, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    for _ in range(6000):
        if what() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


HOLD = """
import time
from certnet.cli import signals
signals.PATIENCE_SECONDS, signals.KILL_SECONDS = {patience}, 0.5
s = signals.Signals()
s.hold()
s.serve()
print("ready", flush=True)
while True:
    try:
        {work}
    except KeyboardInterrupt:
        pass
"""
STUCK = "3 ** 10**9"
"""Nothing of Python runs while this is computed."""
DEAF = "time.sleep(60)"


@pytest.mark.parametrize(
    ("work", "code", "name"),
    [(STUCK, -signal.SIGKILL, "SIGTERM"), *((DEAF, INTERRUPTED, name) for name in SERVED)],
)
def test_a_signal_is_heard_and_the_second_obeyed_whatever_the_process_does(
    tmp_path: Path, work: str, code: int, name: str
) -> None:
    with started(tmp_path, "-c", HOLD.format(work=work, patience=60.0)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(getattr(signal, name))
        assert "Interrupted" in process.stderr.readline()
        assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=30) == code


@pytest.mark.parametrize(("work", "code"), [(STUCK, -signal.SIGKILL), (DEAF, INTERRUPTED)])
def test_a_signal_that_is_not_served_ends_the_process(tmp_path: Path, work: str, code: int) -> None:
    with started(tmp_path, "-c", HOLD.format(work=work, patience=0.5)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == code
        assert PATIENCE_SECONDS < 15


LOST = """
class Slow:
    def __del__(self):
        time.sleep(3)
print("ready", flush=True)
try:
    while True:
        Slow()
        time.sleep(0.5)
except KeyboardInterrupt:
    print("served")
"""


def test_a_signal_during_a_destructor_is_served(tmp_path: Path) -> None:
    program = HOLD.partition("print(")[0].format(patience=60.0) + LOST
    with started(tmp_path, "-c", program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "served\n")
    assert "Slow" not in err


def test_signals_are_ignored_where_they_were(tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + HOLD.format(work=DEAF, patience=0.1)
    with started(tmp_path, "-c", program) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        assert process.poll() is None


def test_the_watcher_goes_with_the_process(tmp_path: Path) -> None:
    with started(tmp_path, "-c", HOLD.format(work=DEAF, patience=60.0)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        # The watcher has the other end too, until it ends.
        assert process.communicate(timeout=10) == ("", "")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A network and many rows, each of which takes a while."""
    n = random_network(6, inputs=6, width=30, outputs=3)
    np.savez(tmp_path / "net.npz", W1=n.hidden, b1=n.hidden_bias, W2=n.output, b2=n.output_bias)
    X = np.random.default_rng(0).standard_normal((400, 6))
    labels = n(X).argmax(axis=1)
    Y, some = np.eye(3)[labels], np.unique(labels, return_index=True)[1]
    np.savez(tmp_path / "data.npz", X_train=X[some], Y_train=Y[some], X_test=X, Y_test=Y)
    return tmp_path


ROBUST = ("net.npz", "data.npz", "--norm", "l2")
LONG = {
    "audit": ("audit", *ROBUST, "--radii", "0.3,0.6", "--json", "--out", "out"),
    "workers": ("audit", *ROBUST, "--radii", "0.3,0.6", "--json", "--out", "out", "--workers", "2"),
    "verify": ("verify", *ROBUST, "--radius", "0.5"),
    "lipschitz": ("lipschitz", "net.npz", "--local", "data.npz", "--radius", "0.5"),
    "train": ("train", "digits", "--json", "--out", "out"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "name"),
    [(command, {"lipschitz": "SIGINT", "verify": "SIGHUP"}.get(command, "SIGTERM")) for command in LONG],
)
def test_every_command_ends_in_time_and_says_what_it_has(data: Path, command: str, name: str) -> None:
    with started(data, "-m", "certnet", *LONG[command]) as process:
        if command == "train":  # before its first network there is nothing to say
            assert process.stderr is not None
            assert "validation loss" in process.stderr.readline()
        elif "out" in LONG[command]:
            wait_for((data / "out" / "journal.jsonl").exists, process)
        else:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)  # as a wrapper does that sends it to the group too
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)  # 15 on a machine that does nothing else
    assert process.returncode == INTERRUPTED, err
    assert "Interrupted" in err + out
    if "out" in LONG[command]:
        assert strict(out)["interrupted"] is True
        assert "report.json" in files(data / "out")
    if command == "train":
        certificate = read_certificate(data / "out" / "optimality.cert")
        assert check(certificate).verdict is Verdict.PROVED


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.15, 0.5, 1.0])
def test_a_signal_while_packages_are_imported_is_an_interruption(data: Path, delay: float) -> None:
    with started(data, "-m", "certnet", *LONG["train"]) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    # Before Python has started, nobody can serve it.
    assert process.returncode in (INTERRUPTED, -signal.SIGTERM)
    assert "Traceback" not in err
    assert process.returncode == INTERRUPTED or err == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up there")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_workers_do_not_outlive_their_parent(data: Path, name: str) -> None:
    with started(data, "-m", "certnet", *LONG["workers"]) as process:
        wait_for((data / "out" / "journal.jsonl").exists, process)
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(children) > 2
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=60)  # ends when nobody has stdout open any more
        for _ in range(300):
            if not any(map(alive, children)):
                break
            time.sleep(0.01)
    assert not any(map(alive, children))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up there")
def test_a_killed_worker_costs_what_is_not_finished(data: Path) -> None:
    with started(data, "-m", "certnet", *LONG["workers"]) as process:
        wait_for((data / "out" / "journal.jsonl").exists, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(workers[0]), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    report = strict(out)
    assert report["reached"] > 0
    assert not report["interrupted"]
    assert any("worker was killed" in note for note in report["notes"])
