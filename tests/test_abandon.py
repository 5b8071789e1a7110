"""Work that is left behind: its result, its errors, its deadline, and Ctrl-C."""

import _thread
import contextlib
import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest

from certificates.making.repair import RepairedDual, repair_without_products
from certnet.jobs import stages as _stages
from certnet.jobs.clock import JobClock
from certnet.jobs.job import begin, run
from certnet.runtime.abandon import Insisted, OutOfTimeError, abandonable
from formulations import TrainingProgram, merge_rows

LONG = 30.0


def interrupt_in(seconds: float, times: int = 1) -> None:
    """Ctrl-C for the main thread."""

    def later() -> None:
        for _ in range(times):
            time.sleep(seconds)
            _thread.interrupt_main()

    threading.Thread(target=later, daemon=True).start()


def spin(seconds: float = LONG) -> None:
    """Steps in Python, as a solver takes them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


def test_the_result_is_returned() -> None:
    assert abandonable(lambda: 3, seconds=LONG) == 3


def test_an_error_is_raised_where_the_work_was_asked_for() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        abandonable(work)


def test_work_sees_the_context_of_the_caller() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    variable.set(7)
    with np.errstate(over="raise"):
        assert abandonable(lambda: (variable.get(), np.geterr()["over"])) == (7, "raise")


def test_work_beyond_its_time_is_left_and_ends() -> None:
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        try:
            spin()
        except Exception:  # noqa: BLE001 - what a solver might do
            spin()

    with pytest.raises(OutOfTimeError):
        abandonable(work, seconds=0.05)
    threads[0].join(LONG / 2)
    assert not threads[0].is_alive()


def test_work_that_is_left_before_it_begins_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is thrown into a thread must not hit Python's own steps before the work, where it would be printed."""
    lost: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lost.append)
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that the caller is often ahead of the thread
    try:
        for _ in range(300):
            with contextlib.suppress(OutOfTimeError):
                abandonable(lambda: sum(range(2000)), seconds=0.0)
    finally:
        sys.setswitchinterval(before)
    assert not lost


def test_an_import_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a module would stay: its parts are imported already, and what they set up is set up twice on a new try."""
    (tmp_path / "slow_part.py").write_text("import time\nfor k in range(500):\n    time.sleep(0.001)\nwhole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = threading.Event()

    def work() -> None:
        try:
            importlib.import_module("slow_part")
            spin()
        finally:
            ended.set()

    began = time.monotonic()
    with pytest.raises(OutOfTimeError):
        abandonable(work, seconds=0.05)
    assert not ended.is_set()
    assert time.monotonic() - began < LONG / 2
    assert ended.wait(LONG / 2), "the work goes on after the import"
    assert sys.modules.pop("slow_part").whole


def test_a_long_call_into_lapack_does_not_keep_the_caller() -> None:
    ended = threading.Event()

    def work() -> None:
        np.linalg.eigh(np.eye(2000) + np.ones((2000, 2000)))
        ended.set()

    with pytest.raises(OutOfTimeError):
        abandonable(work, seconds=0.01)
    assert not ended.is_set()


def test_ctrl_c_reaches_the_work() -> None:
    def work() -> str:
        try:
            spin()
        except KeyboardInterrupt:
            return "in good order"
        return "unheard"

    interrupt_in(0.05)
    assert abandonable(work) == "in good order"


def test_ctrl_c_that_the_work_does_not_serve_is_the_callers() -> None:
    def work() -> None:
        while True:
            try:
                spin()
            except KeyboardInterrupt:
                continue

    interrupt_in(0.05)
    with pytest.raises(KeyboardInterrupt) as caught:
        abandonable(work, patience=0.05)
    assert not isinstance(caught.value, Insisted)


def test_ctrl_c_can_be_passed_on_in_another_way() -> None:
    stop = threading.Event()

    def work() -> str:
        return "asked to stop" if stop.wait(LONG) else "unheard"

    interrupt_in(0.05)
    assert abandonable(work, interrupt=stop.set) == "asked to stop"


def test_a_second_ctrl_c_is_served_at_once() -> None:
    def work() -> None:
        while True:
            try:
                spin()
            except KeyboardInterrupt:
                continue

    interrupt_in(0.1, times=2)
    with pytest.raises(Insisted):
        abandonable(work, patience=LONG)


def test_an_interrupt_that_the_work_raises_itself_is_passed_on() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        abandonable(work)
    assert not isinstance(caught.value, Insisted)


LOSES = """
import threading, time, weakref
from certnet.runtime.abandon import OutOfTimeError, abandonable
from tests.test_abandon import interrupt_in, spin

class Thing:
    pass

def work():
    try:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: spin(0.5))
        del thing
        spin()
    except KeyboardInterrupt:
        print("heard", flush=True)

for ctrl_c in (False, True):
    if ctrl_c:
        interrupt_in(0.2)
        abandonable(work)
    else:
        try:
            abandonable(work, seconds=0.2)
        except OutOfTimeError:
            print("late", flush=True)
    end = time.monotonic() + 10
    while threading.active_count() > 1 + ctrl_c and time.monotonic() < end:
        time.sleep(0.01)
    print(threading.active_count() <= 1 + ctrl_c)
"""


def test_nothing_is_lost_or_said_where_python_drops_errors() -> None:
    """In a process of its own, because pytest has its own way with errors that Python drops."""
    done = subprocess.run([sys.executable, "-c", LOSES], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["late", "True", "heard", "True"], "")


def test_an_interrupted_bound_without_products_keeps_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = merge_rows(TrainingProgram([[1.0, 2.0], [2.0, -1.0]], [[1.0], [0.5]], 0.1))
    job = begin(JobClock(None, None), merged.original)
    offered = repair_without_products(merged.program, 0.5 * merged.program.loss.dual(np.zeros(merged.program.shape)))

    def cut_short(*_: object, callback: Callable[[RepairedDual], None], **__: object) -> None:
        callback(offered)
        raise KeyboardInterrupt

    monkeypatch.setattr("certnet.jobs.stages.shor_bound", cut_short)
    run(job, "bound", _stages.bound_without_products)
    assert job.interrupted
    assert job.best.dual is offered
