"""The command line as a process of its own: start-up, pipes and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from certificates import Verdict, check, read_certificate
from tests.cli.support import files, listen, strict

ROOT = Path(__file__).resolve().parents[2]


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
    done = certnet("train", "nowhere.csv", "--json", cwd=tmp_path, FORCE_COLOR="1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr + done.stdout
    assert strict(done.stdout)["error"]["exit_code"] == 2
    assert files(tmp_path) == []


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
@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["--help"]])
def test_a_full_standard_output_is_named(tmp_path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "certnet", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_ctrl_c_during_the_solve_still_gives_network_and_bound(tmp_path: Path, seconds: float) -> None:
    command = [sys.executable, "-m", "certnet", "train", "digits", "--json", "--quiet", "--out", "out"]

    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen,
    ) as process:
        while not (tmp_path / "out").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.count("\n") == 1
    report = strict(out)
    assert report["interrupted"] is True
    assert files(tmp_path / "out") == ["checkpoint.npz", "network.npz", "optimality.cert", "report.json"]
    certificate = read_certificate(tmp_path / "out" / "optimality.cert")
    assert check(certificate).verdict is Verdict.PROVED
    assert 0 <= report["lower_bound"] <= report["objective"]
