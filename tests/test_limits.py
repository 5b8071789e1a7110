"""Limits of time and memory: what is begun, what is kept, and that more time is never worse."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import certnet
from certificates import Verdict, check
from certnet.cli.limits import job_seconds
from certnet.jobs import clock as _clock
from certnet.jobs import closing as _closing
from certnet.jobs import optimality as _optimality
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs import train as _train
from certnet.jobs.best import Best
from certnet.jobs.clock import CHECK, PROOF, JobClock
from certnet.jobs.job import Closing, begin, closing_of
from certnet.runtime import machine as _memory
from certnet.runtime.machine import available_bytes
from certnet.search.price import bound_from_price
from certnet.solvers import Progress, SolverResult
from certnet.solvers import solve as honest_solve
from certnet.training.trainer import FitResult, Round, fit
from formulations import InputError, LiftedSpace, TrainingProgram, merge_rows
from tests.strategies import rng


def gaussian(n: int, d: int, c: int = 1, gamma: float = 1.0, seed: int = 0) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


class Stuck:
    """A long call that looks at no clock. Whoever waits for it has waited for ever, as the test notices."""

    def __init__(self) -> None:
        self.released, self.was_entered, self.was_awaited = threading.Event(), False, False

    def __call__(self, *_: object, **__: object) -> None:
        self.was_entered = True
        self.was_awaited |= not self.released.wait(120.0)


@pytest.fixture
def perhaps_stuck() -> Iterator[Stuck]:
    """Nobody waits for it, however busy the machine is."""
    made = Stuck()
    yield made
    made.released.set()
    assert not made.was_awaited


@pytest.fixture
def stuck(perhaps_stuck: Stuck) -> Iterator[Stuck]:
    """The same, and the job came as far as that call."""
    yield perhaps_stuck
    assert perhaps_stuck.was_entered


def assert_proved(result: certnet.TrainingResult) -> None:
    assert result.report.verdict is Verdict.PROVED
    report = check(result.certificate)
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound == pytest.approx(result.report.lower_bound, rel=1e-12)
    assert result.report.lower_bound <= result.report.objective
    assert result.report.objective == pytest.approx(result.program.objective(result.U, result.V), rel=1e-9)


# Problems are so small that a job comes to the stage soon, and on a busy machine in one of the longer limits.
LIMITS = (0.5, 1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, (20, 6, 2)) for name in ("solve", "fit", "shor_bound")),
        ("close_gap", (8, 2, 2)),
        ("candidates_from_moment", (6, 6, 1)),
    ],
)
def test_a_stage_that_hears_no_clock_is_left_behind(
    name: str, size: tuple[int, int, int], stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = gaussian(*size, 0.3)
    monkeypatch.setattr({"close_gap": _closing, "solve": relaxing}.get(name, _stages), name, stuck)
    for seconds in LIMITS:
        result = certnet.train(program, time_limit=seconds, gap=1e-4)
        assert_proved(result)
        assert not result.interrupted
        if stuck.was_entered:
            break


@pytest.mark.parametrize("name", ["fit", "solve", "close_gap", "shor_bound", "largest_prices"])
def test_optimality_leaves_such_stages_behind_too(name: str, stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    program = gaussian(8, 6, 2, 0.3)
    U, V = 0.1 * rng(1).standard_normal((6, 3)), 0.1 * rng(2).standard_normal((2, 3))
    module = {"largest_prices": _optimality, "close_gap": _closing, "solve": relaxing}.get(name, _stages)
    monkeypatch.setattr(module, name, stuck)
    # The relaxation comes after training and branching, which are made short.
    options = {"train": False, "max_nodes": 1} if name == "solve" else {}
    for seconds in LIMITS:
        result = certnet.optimality(program, U, V, time_limit=seconds, **options)
        assert result.report.verdict is Verdict.PROVED
        assert 0 <= result.report.lower_bound <= program.objective(U, V)
        if stuck.was_entered:
            break


@pytest.mark.slow
def test_cones_that_take_too_long_leave_time_for_the_relaxation(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    program = gaussian(16, 4, 1, 0.3)
    monkeypatch.setattr(_closing, "CONES_SHARE", 0.2)
    monkeypatch.setattr(_closing, "close_gap", stuck)
    result = certnet.train(program, time_limit=4.0, gap=1e-4)
    assert_proved(result)
    assert result.relaxation is not None
    assert result.resumable
    other = certnet.optimality(program, result.U, result.V, gap=1e-4, time_limit=4.0)
    assert "relaxation" in other.stages
    assert min(other.report.lower_bound, result.report.lower_bound) > 0.5 * result.report.objective


def test_what_a_solver_showed_is_kept_when_it_is_left_behind(
    perhaps_stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, shown = gaussian(12, 6, 1, 0.3), []

    def solve(given, *, callback, **options: object):
        def show(progress: Progress) -> bool:
            callback(progress)
            shown.append(progress.lower_bound)
            return False

        honest_solve(given, solver="interior-point", callback=show)
        perhaps_stuck()

    monkeypatch.setattr(relaxing, "solve", solve)
    result = certnet.train(program, time_limit=1.5)
    assert_proved(result)
    # On a busy machine that may be none.
    assert result.report.lower_bound >= (1 - 1e-6) * max(shown, default=0.0)


@pytest.mark.slow
def test_more_time_gives_no_worse_bound() -> None:
    program = gaussian(400, 8, 1, 10.0)
    bounds = []
    for seconds in (1.0, 4.0):
        result = certnet.train(program, time_limit=seconds)
        assert_proved(result)
        bounds.append(result.report.lower_bound)
    assert bounds[0] > 0
    assert all(later >= 0.98 * sooner for sooner, later in pairwise(bounds))


@pytest.mark.slow
def test_without_memory_for_the_relaxation_there_is_a_cheaper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    program = gaussian(10, 6, 1, 8.0)
    monkeypatch.setattr(_clock, "BYTES_PER_ENTRY", 1e15)
    for options in ({}, {"method": "global", "max_nodes": 1}):
        result = certnet.train(program, **options)
        assert_proved(result)
        assert result.report.lower_bound > 0
        assert result.relaxation is None
        assert any("without products" in note for note in result.notes)
    other = certnet.optimality(program, result.U, result.V)
    assert other.report.verdict is Verdict.PROVED
    assert any("without products" in note for note in other.notes)


@pytest.mark.parametrize("limit", [1e-2, 0.2, 1.0, 50.0])
def test_most_of_any_limit_is_for_the_stages(limit: float) -> None:
    clock = JobClock(limit, None, LiftedSpace(np.eye(2), 1))
    left = clock.available()
    assert left is not None
    assert left >= 0.75 * limit - clock.seconds


@pytest.mark.parametrize("limit", [0.1, 1.0, 3.0])
def test_a_command_that_starts_slowly_still_has_a_result_of_its_own(limit: float) -> None:
    seconds = job_seconds(limit, time.perf_counter() - limit)
    assert seconds is not None
    assert 0.05 <= seconds <= limit
    assert job_seconds(None, 0.0) is None


def test_data_that_cannot_even_be_trained_on_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "available_bytes", lambda: 1e5)
    with pytest.raises(InputError, match="fewer rows"):
        certnet.train(gaussian(40, 6))


@pytest.mark.slow
def test_many_rows_are_accepted_and_bounded_in_linear_memory() -> None:
    program = gaussian(5000, 6)
    result = certnet.train(program, time_limit=2.0)
    assert_proved(result)
    assert len(result.certificate.proof.pairs) == 0


def test_nothing_is_done_once_nothing_is_left_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zero network is optimal, and its first bound proves it."""
    monkeypatch.setattr(relaxing, "solve", lambda *_, **__: pytest.fail("there is nothing to gain"))
    result = certnet.train(gaussian(30, 4, 1, 1e3))
    assert_proved(result)
    assert result.report.gap < 1e-8


def test_few_dimensions_are_cut_before_anything_is_relaxed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaxing, "solve", lambda *_, **__: pytest.fail("cones close the gap"))
    result = certnet.train(gaussian(20, 2, 1, 0.3), gap=1e-3)
    assert_proved(result)
    assert result.report.gap <= 1e-3


def test_seconds_do_not_count_where_there_is_no_limit() -> None:
    plan = JobClock(None, None, LiftedSpace(rng(0).standard_normal((30, 3)), 1))
    nothing = FitResult(np.zeros((3, 0)), np.zeros((1, 0)), 1.0, seconds=3.0)
    assert plan.share(0.5) is plan.relaxation(nothing, 0.3) is plan.rounding(relaxed=True) is plan.shor() is None
    assert plan.eigenvalues == 0.0
    assert plan.can_relax()
    assert plan.can_branch()


def test_rounds_that_bring_little_of_the_gap_end_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    def course(*objectives: float) -> tuple[Round, ...]:
        return tuple(Round(k, 2.0 * k, value, 1, 2.0) for k, value in enumerate(objectives, 1))

    assert _stages.round_gain(course(4.0)) == np.inf
    assert _stages.round_gain(course(9.0, 4.0, 2.0)) == pytest.approx(0.5)
    assert _stages.round_gain(course(4.0, 3.0, 2.0), 3) == pytest.approx(0.25)
    program = gaussian(15, 6)
    job = begin(
        JobClock(None, None), program, fit(program, max_rounds=1), closing=closing_of("sdp", 1e-3, None, 1, None)
    )
    _stages.first_bound(job)
    job.best.network = job.trained = replace(job.best.network, price_ratio=2.0, converged=False)
    ran: list[dict] = []

    def look(*args, **options):
        ran.append(options)
        return fit(*args, **{**options, "max_rounds": 1})

    monkeypatch.setattr(_stages, "fit", look)
    # Less than 5e-4 of the gap was gained last.
    assert 0.4 < job.best.gap <= 1.0
    job.trained = replace(job.trained, history=course(1.0002, 1.0001, 1.0))
    _stages.round_relaxation(job)
    assert not ran
    job.trained = replace(job.trained, history=course(1.02, 1.01, 1.0))
    before = job.best.network.objective
    _stages.round_relaxation(job)
    assert len(ran) == 1
    assert ran[0]["start"] is not None
    assert job.best.network.objective <= before


@pytest.mark.slow
def test_a_price_that_promises_little_ends_training() -> None:
    program = gaussian(30, 6)
    job = begin(JobClock(None, None), program, fit(program), closing=closing_of("sdp", 1e-3, None, 1, None))
    W, objective = job.offered.W, job.best.network.objective
    for ratio in (1.0, 1.0001, 1.01, 1.1):
        # All that a price of so much can mean is an optimum that is no lower than this.
        promised = 1.0 - bound_from_price(job.merged.program, W, ratio * program.gamma) / objective
        assert _stages.is_settled(job, ratio, 1.01 * promised + 1e-9)
        assert ratio == 1.0 or not _stages.is_settled(job, ratio, 0.99 * promised)
    assert not _stages.is_settled(job, np.nan)
    assert not _stages.is_settled(job, np.inf)


def test_a_tree_comes_before_the_first_order_solver_where_there_is_time() -> None:
    plain = gaussian(300, 6)
    closing = closing_of("sdp", 1e-3, None, 1, None)

    def order(seconds: float | None, program: TrainingProgram) -> list[str]:
        job = begin(JobClock(seconds, None), program, solver="admm", closing=closing)
        names = [name for name, _ in relaxing.bounding(job)]
        return sorted(("branching", "relaxation"), key=names.index)

    free = TrainingProgram(plain.X, plain.Y, plain.gamma, hidden_bias="free", output_bias="free")
    assert order(1e6, free) == ["branching", "relaxation"]
    assert order(20.0, free) == order(None, free) == ["relaxation", "branching"]
    # Both sides of a single output are bounded in place of the relaxation.
    small = gaussian(220, 6)
    assert order(100.0, small) == order(None, small) == ["branching", "relaxation"]
    assert order(20.0, gaussian(2000, 6)) == ["relaxation", "branching"]
    several = TrainingProgram(plain.X, np.tile(plain.Y, 2), plain.gamma)
    assert order(20.0, several) == order(None, several) == ["relaxation", "branching"]


def test_leaves_follow_a_few_steps_where_outputs_are_several_and_there_is_time() -> None:
    plain = gaussian(800, 6)
    several = TrainingProgram(plain.X, np.tile(plain.Y, 3), plain.gamma)
    closing = closing_of("sdp", 1e-3, None, 1, None)

    def follow(seconds: float | None, program: TrainingProgram, closing: Closing | None = closing) -> bool:
        return relaxing.leaves_follow(begin(JobClock(seconds, None), program, solver="admm", closing=closing))

    assert follow(1e6, several)
    assert not follow(10.0, several)
    # Without a limit the relaxation is solved to its end, and without a search nothing follows.
    assert not follow(None, several)
    assert not follow(1e6, several, None)
    assert not follow(1e6, plain)
    free = TrainingProgram(several.X, several.Y, several.gamma, hidden_bias="free", output_bias="free")
    assert not follow(1e6, free)


def test_a_relaxation_that_is_near_goes_on_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    program, asked = gaussian(12, 4), []
    job = begin(
        JobClock(1e3, None),
        program,
        fit(program, max_rounds=1),
        solver="admm",
        closing=closing_of("sdp", 1e-3, None, 1, None),
    )
    objective = job.best.network.objective

    def fake(*arguments: object, callback: Callable[[Progress], bool], **options: object) -> SolverResult:
        shown = [
            Progress(25, objective, 1e-3, 1e-3, 1, lambda: None, lower_bound=objective * (1.0 - gap))
            for gap in (0.5, 2e-3, 5e-4, np.nan)
        ]
        asked.append([callback(progress) for progress in shown])
        return honest_solve(*arguments, **{**options, "max_iterations": 5, "repair": None})

    monkeypatch.setattr(relaxing, "solve", fake)
    for usual in (1e6, 0.0, None):
        relaxing.solve_relaxation(
            job, solver="admm", seconds=None, tolerance=1e-6, warm_start=None, enough=1e-3, usual=usual
        )
    ends_when_closed = [False, False, True, False]
    assert asked == [ends_when_closed, [True, False, True, True], ends_when_closed]


def test_what_cannot_end_in_time_does_not_begin() -> None:
    small, large = (LiftedSpace(rng(0).standard_normal((n, 3)), 1) for n in (20, 20_000))
    assert JobClock(5.0, None, small).can_relax()
    plan = JobClock(5.0, None, large)
    assert not plan.can_relax()
    assert not plan.can_branch()


def test_a_relaxation_leaves_time_for_its_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing follows; else what follows does without as much. A free hidden bias makes proofs longer."""
    plain = gaussian(40, 6)
    free = TrainingProgram(plain.X, plain.Y, plain.gamma, hidden_bias="free", output_bias="free")
    kept = []
    for program in (plain, free):
        clock = begin(JobClock(1e6, None), program).clock
        monkeypatch.setattr(clock, "_measured", 1.0)
        left = clock.available() or 0.0
        kept.append(left - (clock.relaxation(None, 0.0) or 0.0))
        assert kept[-1] == pytest.approx(clock.takes(PROOF), abs=1.0)
        assert kept[-1] > clock.takes(CHECK) > 0
        assert clock.relaxation(None, 0.5) == pytest.approx(0.5 * left, abs=1.0)
    assert kept[1] > 3 * kept[0]
    hasty = JobClock(1e-2, None, LiftedSpace(plain.X, 1))
    assert 0 < (hasty.relaxation(None, 0.0) or 0.0) <= 1e-2


def test_without_a_limit_a_proof_takes_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relaxation that reaches the gap ends the job: its dual is proved last, and on large data that takes long."""
    program = gaussian(12, 8, gamma=1.0)
    whole = certnet.train(program, gap=0.05, solver="interior-point")
    monkeypatch.setattr(JobClock, "_measured", 10.0)
    again = certnet.train(program, gap=0.05, solver="interior-point")
    assert again.report.lower_bound == whole.report.lower_bound
    assert again.report.gap <= 0.05


def test_a_rank_that_takes_too_long_is_left_out(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_train, "spectrum", stuck)
    monkeypatch.setattr(_train, "RANK_SECONDS", 0.05)
    result = certnet.train(gaussian(10, 6), time_limit=20.0)
    assert_proved(result)
    assert (result.rank, result.spectrum) == (None, ())
    assert any("rank" in note for note in result.notes)
    assert not result.resumable


def test_a_search_leaves_time_for_the_proofs_of_its_leaves() -> None:
    space = LiftedSpace(rng(0).standard_normal((20, 3)), 1)
    without = JobClock(None, None, space).pace(24)
    assert not any(without(leaves) for leaves in (1, 2, 4, 1 << 20))
    enough, short = JobClock(1e4, None, space).pace(24), JobClock(1.0, None, space).pace(24)
    assert enough(1) is None
    assert all((enough(leaves) or 0.0) > 2 * leaves for leaves in (2, 4))
    # As long as there is one leaf, nothing is known of rounds; 32 leaves take longer than a second to prove.
    assert [short(1), short(1)] == [None, None]
    assert 0 < (short(32) or 0.0) < 33
    assert short(32) is None


def test_the_best_is_kept_in_whatever_order_it_comes() -> None:
    program = gaussian(15, 3)
    networks = [FitResult(U, V, program.objective(U, V)) for U, V in (nets(seed) for seed in range(5))]
    for order in (networks, networks[::-1]):
        best = Best(merge_rows(program), FitResult(np.zeros((3, 0)), np.zeros((1, 0)), np.inf))
        for network in order:
            best.see((network.U, network.V), network.objective)
        assert best.network.objective == min(network.objective for network in networks)
        assert 0 <= best.lower_bound <= best.network.objective
        assert best.proof is None


def nets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return 0.1 * rng(seed).standard_normal((3, 4)), 0.1 * rng(seed + 100).standard_normal((1, 4))


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups_limit_memory(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path if version == 2 else tmp_path / "memory"
    folder = top / "outer" / "inner"
    folder.mkdir(parents=True)
    most, taken, cache = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (folder / most).write_text("max\n" if version == 2 else "9223372036854771712\n")
    (folder / taken).write_text("5000\n")
    (folder.parent / most).write_text("9000\n")
    (folder.parent / taken).write_text("5000\n")
    (folder.parent / "memory.stat").write_text(f"active_file 7\n{cache} 1000\n")
    monkeypatch.setattr(_memory, "GROUPS", tmp_path)
    line = "0::/outer/inner" if version == 2 else "4:memory:/outer/inner"
    lines = _memory._lines
    monkeypatch.setattr(_memory, "_lines", lambda path: [line] if path.name == "cgroup" else lines(path))
    assert available_bytes() == 5000.0


def test_ulimit_limits_memory() -> None:
    code = "from certnet.runtime.machine import available_bytes; print(available_bytes())"
    size = 2 << 30
    command = ["sh", "-c", f'ulimit -v {size >> 10}; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < size
