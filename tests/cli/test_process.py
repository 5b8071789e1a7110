"""The command line as a process of its own: start-up, pipes and signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate
from tests.cli.support import LISTENING, files, strict

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = ("verify", "nowhere.npz", "data.npz", "--norm", "l2", "--radius", "1", "--json")
"""A file is missing, which this command sees before it imports much."""


def environment(**extra: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {**keep, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **extra}


def certnet(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "certnet", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(**extra), capture_output=True, text=True, timeout=120, check=False
    )


def test_help_imports_no_heavy_package(tmp_path: Path) -> None:
    program = (
        "import sys; from certnet.cli import main; code = main(['train', '--help']); "
        "heavy = {'scipy', 'sklearn', 'cvxpy', 'picos', 'torch', 'clarabel', 'scs', 'mosek'} & set(sys.modules); "
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_errors_of_the_module_are_one_sentence(tmp_path: Path) -> None:
    done = certnet(*NOWHERE, cwd=tmp_path, FORCE_COLOR="1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr + done.stdout
    assert strict(done.stdout)["error"]["exit_code"] == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("left", [True, False])
def test_work_that_is_left_behind_is_not_torn_down(left: bool, tmp_path: Path) -> None:
    """A compiler in a thread may still run in a library, whose parts must not be taken down then."""
    program = (
        "import atexit, sys, threading, time; from certnet.cli import main; from certnet.runtime.abandon import *\n"
        "atexit.register(print, 'taken down')\n"
        f"seconds, sys.argv = {0.3 if left else 60.0}, ['certnet', '--version']\n"
        "try: abandonable(lambda: [time.sleep(0.05) for _ in range(20)] if seconds > 1 else time.sleep(30), "
        "seconds=seconds)\n"
        "except OutOfTimeError: pass\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("taken down" in done.stdout) != left
    assert done.stdout.startswith("0.")


@pytest.mark.skipif(os.name == "nt", reason="pipes differ there")
def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "certnet", "doctor"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), stdout=write, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is needed")
@pytest.mark.parametrize("arguments", [pytest.param(["doctor", "--json"], marks=pytest.mark.slow), ["--help"]])
def test_a_full_standard_output_is_named(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "certnet", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output" in done.stderr


def gone() -> int:
    """A pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


BROKEN: dict[str, Callable[[], int]] = {
    "full": lambda: os.open("/dev/full", os.O_WRONLY),
    "gone": gone,
    "closed": lambda: -1,
}


def broken(*arguments: str, cwd: Path, how: str, stream: int) -> subprocess.CompletedProcess[str]:
    """Run ``certnet`` with a standard stream that cannot be written to; the other one is captured."""
    target = BROKEN[how]()
    captured = {name: subprocess.PIPE for name, number in (("stdout", 1), ("stderr", 2)) if number != stream}
    if target >= 0:
        captured[("stdout", "stderr")[stream - 1]] = target
    # Not a ``preexec_fn``, which may hang where threads of earlier tests still run.
    closing = [] if target >= 0 else ["sh", "-c", f'exec "$@" {stream}>&-', "sh"]
    try:
        return subprocess.run(
            [*closing, sys.executable, "-m", "certnet", *arguments],
            cwd=cwd,
            env=environment(),
            text=True,
            timeout=120,
            check=False,
            **captured,  # type: ignore[call-overload]
        )
    finally:
        if target >= 0:
            os.close(target)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network and rows: two keep their class, and of one that is not known in a moment."""
    folder = tmp_path_factory.mktemp("audited")
    np.savez(folder / "net.npz", W1=[[1.0], [-1.0]], b1=[0.0, 0.0], W2=[[1.0, -1.0], [-1.0, 1.0]], b2=[0.0, 0.0])
    X, Y = np.array([[2.0], [-2.0], [0.05]]), np.eye(2)[[0, 1, 0]]
    np.savez(folder / "data.npz", X_train=X, Y_train=Y, X_test=X, Y_test=Y)
    return folder


STREAMS = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is needed")


def slow_but(quick: tuple[object, ...], cases: Iterable[tuple[object, ...]]) -> list[object]:
    """The first ones belong to the fast suite, the others say the same and take a process each."""
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in cases]


@STREAMS
@pytest.mark.parametrize(("how", "stream"), slow_but((("full", 1),), product(BROKEN, [1, 2])))
def test_a_broken_stream_loses_no_file_and_changes_no_code(audited: Path, how: str, stream: int) -> None:
    out = f"{how}{stream}"
    audit = ("audit", "net.npz", "data.npz", "--norm", "linf", "--radii", "0.1,1.0", "--out", out, "--json")
    done = broken(*audit, cwd=audited, how=how, stream=stream)
    assert done.returncode == 0, done.stderr
    assert files(audited / out) == ["inputs.csv", "journal.jsonl", "report.json"]
    stored = (audited / out / "report.json").read_text()
    if stream == 2:
        assert strict(done.stdout) == strict(stored)
    else:
        assert ("standard output" in done.stderr) == (how == "full")
        assert "Traceback" not in done.stderr


@STREAMS
@pytest.mark.parametrize("how", slow_but((("full",),), product(BROKEN)))
def test_lines_that_nobody_gets_stop_no_row(audited: Path, how: str) -> None:
    verify = ("verify", "net.npz", "data.npz", "--norm", "linf", "--radius", "0.1", "--certificate", f"rows{how}")
    done = broken(*verify, cwd=audited, how=how, stream=1)
    assert done.returncode == 1  # the third row is refuted
    assert len(files(audited / f"rows{how}")) == 2
    assert done.stderr.count("\n") == (how == "full")


@STREAMS
@pytest.mark.parametrize("how", slow_but((("closed",),), product(BROKEN)))
def test_errors_keep_their_code_without_stderr(tmp_path: Path, how: str) -> None:
    done = broken(*NOWHERE, cwd=tmp_path, how=how, stream=2)
    assert done.returncode == 2
    assert strict(done.stdout)["error"]["exit_code"] == 2
    assert broken(*NOWHERE, cwd=tmp_path, how=how, stream=1).returncode == 2


@STREAMS
@pytest.mark.slow
@pytest.mark.parametrize(("how", "stream"), [("full", 1), ("closed", 2)])
def test_training_needs_no_stream(tmp_path: Path, how: str, stream: int) -> None:
    done = broken("train", "iris", "--time-limit", "3", "--out", "out", cwd=tmp_path, how=how, stream=stream)
    assert done.returncode in (0, 3), done.stderr
    assert {"network.npz", "optimality.cert", "report.json"} <= set(files(tmp_path / "out"))
    assert check(read_certificate(tmp_path / "out" / "optimality.cert")).verdict is Verdict.PROVED


def test_what_the_encoding_lacks_is_escaped_as_in_json(tmp_path: Path) -> None:
    name, data, *options = NOWHERE[1:]
    done = certnet("verify", f"\u00f6\U0001d6fe{name}", data, *options, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "\\u00f6\\ud835\\udefe" in done.stdout
    assert f"\u00f6\U0001d6fe{name}" in strict(done.stdout)["reason"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
def test_ctrl_c_during_the_solve_still_gives_network_and_bound(tmp_path: Path) -> None:
    command = [*LISTENING, "-m", "certnet", "train", "digits", "--gamma", "1", "--json", "--quiet", "--out", "out"]

    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (tmp_path / "out").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    report = strict(out)
    assert report["interrupted"] is True
    assert files(tmp_path / "out") == ["checkpoint.npz", "network.npz", "optimality.cert", "report.json"]
    certificate = read_certificate(tmp_path / "out" / "optimality.cert")
    assert check(certificate).verdict is Verdict.PROVED
    assert 0 <= report["lower_bound"] <= report["objective"]


AGE = """
import time
first = time.perf_counter()
import certnet.cli
from certnet.cli import app, limits
app.run = lambda *_: print(first - limits.began(), time.process_time())
certnet.cli.main()
"""


@pytest.mark.slow
def test_the_age_of_a_shell_that_became_certnet_is_not_its_time(tmp_path: Path) -> None:
    """A shell runs the last command of a chain in its own process, whose age counts what came before."""
    run = ["bash", "-c", f"sleep 3 && exec '{sys.executable}' -c '{AGE}'"]
    done = subprocess.run(run, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    before, computed = map(float, done.stdout.split())
    assert before <= computed < 3.0
