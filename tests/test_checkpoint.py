"""Checkpoints: what is written comes back bit for bit, broken files are one sentence, resumed jobs lose nothing."""

import io
import json
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import certnet
from certificates import Verdict
from certnet.jobs import checkpoint as _checkpoint
from certnet.jobs import many_rows, narrowing, relaxing
from certnet.jobs.checkpoint import (
    EVERY_SECONDS,
    SHARE,
    Checkpoint,
    Saver,
    program_fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from certnet.jobs.clock import JobClock
from formulations import Dual, InputError, TrainingProgram
from formulations.groups import GroupedDual, Groups
from formulations.program import NO_PRODUCTS
from tests.certificates.altering import replace
from tests.strategies import SEEDS, rng


def small_program(gamma: float = 0.1) -> TrainingProgram:
    X = rng(0).standard_normal((14, 2))
    return TrainingProgram(X, np.maximum(X, 0.0)[:, :2] + 0.1 * rng(1).standard_normal((14, 2)), gamma)


def example(**changes: Any) -> Checkpoint:
    random = rng(3)
    checkpoint = Checkpoint(
        fingerprint=program_fingerprint(small_program()),
        stage="relaxation",
        seconds=12.5,
        solver="admm",
        search={"V": random.standard_normal((4, 4)), "count": np.array(3), "on": np.array([True, False])},
        dual=Dual(random.standard_normal((5, 2)), random.standard_normal((6, 6))),
        iterate=(random.standard_normal((4, 4)), Dual(random.standard_normal((5, 2)), random.standard_normal((6, 6)))),
        U=random.standard_normal((2, 2)),
        V=random.standard_normal((2, 2)),
        about={"source": "iris", "γ": [1, None]},
    )
    return replace(checkpoint, **changes)


def in_groups() -> GroupedDual:
    random, groups = rng(4), Groups.of(rng(5).standard_normal((5, 2)), 3, 1)
    blocks, head = random.standard_normal((2, 6, 6)), random.standard_normal((4, 4))
    return GroupedDual(W=random.standard_normal((5, 2)), N=NO_PRODUCTS, groups=groups, blocks=blocks, head=head)


def assert_same_arrays(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_everything_comes_back(tmp_path: Path) -> None:
    before = example()
    write_checkpoint(tmp_path / "c.npz", before)
    after = read_checkpoint(tmp_path / "c.npz")
    for name in ("fingerprint", "stage", "seconds", "solver", "about"):
        assert getattr(after, name) == getattr(before, name)
    assert_same_arrays(after.search, before.search)
    np.testing.assert_array_equal(after.dual.N, before.dual.N)
    np.testing.assert_array_equal(after.iterate[0], before.iterate[0])
    np.testing.assert_array_equal(after.iterate[1].N, before.iterate[1].N)
    np.testing.assert_array_equal(after.U, before.U)
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.npz", example(search=None, dual=None, iterate=None, U=None, V=None))
    after = read_checkpoint(tmp_path / "c.npz")
    assert (after.search, after.dual, after.U, after.V) == (None, None, None, None)


@settings(max_examples=30)
@given(
    SEEDS,
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(["<f8", "<f4", "<i8", "|b1", "<u4"]),
    st.booleans(),
)
def test_arrays_of_any_kind_keep_their_bits_and_their_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shape: list[int], dtype: str, fortran: bool
) -> None:
    path = tmp_path_factory.mktemp("bits") / "c.npz"
    array = np.array(100 * rng(seed).standard_normal(shape)).astype(dtype, order="F" if fortran else "C")
    write_checkpoint(path, example(search={"part": array}))
    found = read_checkpoint(path).search["part"]
    assert_same_arrays({"part": found}, {"part": array})
    assert found.flags.f_contiguous == array.flags.f_contiguous
    assert found.flags.writeable
    assert found.flags.aligned


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="booleans, integers and floats"):
        write_checkpoint(tmp_path / "c.npz", example(search={"x": np.array([{}], dtype=object)}))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_while_writing_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.npz"
    write_checkpoint(path, example(seconds=1.0))

    def interrupt(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("certnet.jobs.checkpoint.np.savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, example(seconds=2.0))
    assert read_checkpoint(path).seconds == 1.0
    assert list(tmp_path.iterdir()) == [path]


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def header_bytes(**changes: Any) -> bytes:
    header = {
        "format": "certnet-checkpoint",
        "version": 3,
        "fingerprint": "0",
        "stage": "",
        "solver": "admm",
        "seconds": 1.0,
        "about": {},
        **changes,
    }
    return npy(np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def absurd_shape() -> bytes:
    """A header that promises an exabyte."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**8)})
    return stream.getvalue()


GOOD = {"header.npy": header_bytes()}
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"no archive at all",
    "truncated": archive({**GOOD, "search/V.npy": npy(np.ones(99))})[:-200],
    "no members": archive({}),
    "no header": archive({"search/V.npy": npy(np.ones(2))}),
    "header of floats": archive({"header.npy": npy(np.ones(9))}),
    "header that is no JSON": archive({"header.npy": npy(np.frombuffer(b"{", dtype=np.uint8))}),
    "header that is a list": archive({"header.npy": npy(np.frombuffer(b"[]", dtype=np.uint8))}),
    "deep header": archive({"header.npy": npy(np.frombuffer(b"[" * 100_000, dtype=np.uint8))}),
    "huge header": archive({"header.npy": npy(np.zeros((1 << 20) + 1, dtype=np.uint8))}),
    "other version": archive({"header.npy": header_bytes(version=1)}),
    "other format": archive({"header.npy": header_bytes(format="something")}),
    "seconds that are text": archive({"header.npy": header_bytes(seconds="1")}),
    "seconds that are NaN": archive({"header.npy": header_bytes(seconds=float("nan"))}),
    "solver missing": archive({"header.npy": header_bytes(solver=None)}),
    "seconds that are infinite": archive({"header.npy": header_bytes(seconds=float("inf"))}),
    "about that is a list": archive({"header.npy": header_bytes(about=[])}),
    "pickled objects": archive({**GOOD, "search/x.npy": pickled()}),
    "strings": archive({**GOOD, "search/x.npy": npy(np.array(["a"]))}),
    "complex numbers": archive({**GOOD, "search/x.npy": npy(np.ones(2) * 1j)}),
    "absurd shape": archive({**GOOD, "search/x.npy": absurd_shape()}),
    "member that is no array": archive({**GOOD, "search/x.npy": b"\x93NUMPY"}),
    "compressed member": archive({**GOOD, "search/x.npy": npy(np.zeros(10**6))}, zipfile.ZIP_DEFLATED),
    "stranger": archive({**GOOD, "extra.npy": npy(np.ones(2))}),
    "U without V": archive({**GOOD, "network/U.npy": npy(np.ones((2, 2)))}),
    "network of two widths": archive(
        {**GOOD, "network/U.npy": npy(np.ones((2, 2))), "network/V.npy": npy(np.ones((2, 3)))}
    ),
    "network with NaN": archive(
        {**GOOD, "network/U.npy": npy(np.full((2, 2), np.nan)), "network/V.npy": npy(np.ones((2, 2)))}
    ),
    "dual of vectors": archive({**GOOD, "dual/W.npy": npy(np.ones(2)), "dual/N.npy": npy(np.ones(2))}),
    "too many members": archive({**GOOD, **{f"search/{i}.npy": b"" for i in range(1001)}}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_and_hostile_files_are_one_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "c.npz").write_bytes(BROKEN[kind])
    with pytest.raises(InputError, match=r"c\.npz") as caught:
        read_checkpoint(tmp_path / "c.npz")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_the_frame_of_the_broken_files_is_sound(tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(archive({**GOOD, "search/x.npy": npy(np.ones(2))}))
    assert read_checkpoint(tmp_path / "c.npz").search["x"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["absent.npz", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        read_checkpoint(tmp_path / name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "c.npz"
    write_checkpoint(path, example())
    return path.read_bytes()


@settings(max_examples=100)
@given(st.data())
def test_damage_anywhere_is_an_input_error_or_nothing(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damage") / "c.npz"
    path.write_bytes(damaged)
    try:
        found = read_checkpoint(path)
    except InputError:
        return
    # Flags and dates of the archive carry nothing; what is read is what was written.
    assert_same_arrays(found.search, example().search)


def test_fingerprints_tell_programs_apart() -> None:
    program = small_program()
    X, Y = program.X, program.Y
    others = [
        TrainingProgram(X, Y, 0.2),
        TrainingProgram(X + 1e-15, Y, 0.1),
        TrainingProgram(X, Y + 1e-15, 0.1),
        TrainingProgram(X, Y, 0.1, hidden_bias="penalised"),
        TrainingProgram(np.hstack([X, np.ones((14, 1))]), Y, 0.1),
    ]
    prints = {program_fingerprint(other) for other in [program, *others]}
    assert len(prints) == 6
    assert program_fingerprint(small_program()) == program_fingerprint(program)


class FakeClock(JobClock):
    """Time stands still until it is set."""

    now = 0.0

    def __init__(self) -> None:
        super().__init__(None, None)

    @property
    def seconds(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.0, 1.0, 10.0])
def test_checkpoints_take_a_small_share_of_the_time(cost: float) -> None:
    clock, saved = FakeClock(), []

    def save(checkpoint: Checkpoint) -> None:
        saved.append(clock.now)
        clock.now += cost

    saver = Saver(example(search=None, dual=None, iterate=None), save, clock)
    while clock.now < 3600.0:
        clock.now += 0.5
        saver.look(lambda: {"search": {"x": np.ones(1)}})
    gaps = np.diff([0.0, *saved])
    assert gaps.min() >= EVERY_SECONDS
    assert len(saved) * cost <= SHARE * clock.now + cost
    assert len(saved) >= min(3600 / EVERY_SECONDS, 3600 * SHARE / max(cost, 1e-9)) - 2


def test_a_checkpoint_that_fails_is_tried_again() -> None:
    clock, tried, saved = FakeClock(), [], []

    def save(checkpoint: Checkpoint) -> None:
        tried.append(clock.now)
        clock.now += 0.1
        if clock.now < 600.0:
            raise OSError(28, "No space left on device")
        saved.append(checkpoint)

    saver = Saver(example(search=None, dual=None, iterate=None), save, clock)
    while clock.now < 1200.0:
        clock.now += 0.5
        saver.update(U=np.full((2, 2), clock.now), V=np.ones((2, 2)))
        saver.look()
    assert np.diff(tried).min() >= EVERY_SECONDS
    assert saved[0].seconds < 12.5 + 600.0 + 2 * EVERY_SECONDS
    assert saved[-1].U[0, 0] > 1200.0 - 2 * EVERY_SECONDS
    assert len(saved) > 8
    failed, works = clock.notes
    assert "No space left on device" in failed
    assert "again" in failed
    assert "again" in works


def test_nothing_new_is_not_written() -> None:
    clock, saved = FakeClock(), []
    saver = Saver(example(search=None, dual=None, iterate=None), saved.append, clock)
    saver.update(U=np.ones((2, 1)), V=np.ones((2, 1)))
    saver.look()
    for _ in range(10):
        clock.now += EVERY_SECONDS
        saver.look()
    assert len(saved) == 1


@pytest.mark.parametrize("seconds", [1.0, 1e5])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_last_checkpoint_that_is_large_keeps_the_network(seconds: float, earlier: bool) -> None:
    clock, saved = FakeClock(), []
    huge = np.broadcast_to(np.ones(1), (40_000, 40_000))
    saver = Saver(example(search=None, dual=None, iterate=None), saved.append, clock)
    if earlier:
        clock.now = EVERY_SECONDS
        saver.look(lambda: {"search": {"x": huge}})
    clock.now += seconds
    assert saver.reserve(20_000) <= max(0.5, SHARE * clock.now)
    saver.update(U=np.ones((2, 1)), V=np.ones((2, 1)), search={"x": huge})
    saver.write_last()
    affordable = seconds > 1e4
    assert (saved[-1].search is not None) is (affordable or earlier)
    assert (saved[-1].U.shape == (2, 1)) is (affordable or not earlier)


@pytest.mark.parametrize("method", ["sdp", "global"])
def test_training_is_checkpointed_and_resumed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while the first network is trained leaves one that the next begins with."""
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(_checkpoint, "SHARE", np.inf)
    random = rng(5)
    program = TrainingProgram(random.standard_normal((6, 2)), random.standard_normal((6, 1)), 0.1)
    saved: list[Checkpoint] = []

    def save(checkpoint: Checkpoint) -> None:
        saved.append(checkpoint)
        if checkpoint.stage == "training" and checkpoint.U is not None and checkpoint.U.shape[1] > 0 and len(saved) > 2:
            raise Died

    class Died(BaseException):
        """No error that a job could go on after."""

    with pytest.raises(Died):
        certnet.train(program, method=method, checkpoint=save)
    stored = saved[-1]
    reached = program.objective(stored.U, stored.V)
    assert reached < program.objective(np.zeros((2, 0)), np.zeros((1, 0)))
    stages: list[str] = []
    result = certnet.train(
        program,
        method=method,
        resume=stored,
        max_nodes=None if method == "sdp" else 1,
        checkpoint=lambda checkpoint: stages.append(checkpoint.stage),
    )
    assert stages[0] == "training"
    assert result.report.objective < reached
    assert result.report.verdict is Verdict.PROVED


def test_a_disk_that_is_full_hurts_the_checkpoints_not_the_job() -> None:
    calls = []

    def full(checkpoint: Checkpoint) -> None:
        calls.append(checkpoint)
        raise OSError(28, "No space left on device")

    result = cut_short(small_program(), checkpoint=full)
    assert len(calls) == 1
    assert any("No space left on device" in note for note in result.notes)
    assert result.report.verdict is Verdict.PROVED


def cut_short(program: TrainingProgram, *, stage: str = "relaxation", after: int = 1, **options: Any):
    """``certnet.train``, with Ctrl-C pressed at the given iteration of the relaxation."""
    pressed = []

    def progress(event: certnet.Event) -> None:
        if event.stage == stage and (event.iteration or 0) >= after and not pressed:
            pressed.append(event)
            raise KeyboardInterrupt

    return certnet.train(program, progress=progress, solver=options.pop("solver", "admm"), **options)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, Checkpoint]:
    """The objective and the checkpoint of a job that ADMM was cut short in."""
    path = tmp_path_factory.mktemp("cut") / "c.npz"
    objective = cut_short(small_program(), checkpoint=path).report.objective
    return objective, read_checkpoint(path)


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "after"), [("admm", 75), ("interior-point", 9)])
def test_a_resumed_relaxation_ends_where_a_whole_one_ends(tmp_path: Path, solver: str, after: int) -> None:
    program, path = small_program(), tmp_path / "c.npz"
    whole = certnet.train(program, solver=solver, tolerance=1e-4)
    first = cut_short(program, solver=solver, after=after, tolerance=1e-4, checkpoint=path)
    assert first.interrupted
    assert first.resumable
    assert first.relaxation.iterations < whole.relaxation.iterations
    resumed = certnet.train(program, solver=solver, tolerance=1e-4, resume=read_checkpoint(path), checkpoint=path)
    assert resumed.notes == ()
    assert resumed.report.lower_bound >= max(first.report.lower_bound * (1 - 1e-7), 0.999 * whole.report.lower_bound)
    assert resumed.relaxation.iterations <= 1.1 * whole.relaxation.iterations
    assert not path.exists()


@pytest.mark.slow
def test_a_resumed_job_is_never_worse(tmp_path: Path) -> None:
    program, path = small_program(0.01), tmp_path / "c.npz"
    best = cut_short(program, after=200, tolerance=1e-9, checkpoint=path)
    for after in (1, 2):
        again = cut_short(program, after=after, tolerance=1e-9, checkpoint=path, resume=read_checkpoint(path))
        assert again.report.verdict is Verdict.PROVED
        assert again.report.lower_bound >= best.report.lower_bound * (1 - 1e-7)
        assert again.report.objective <= best.report.objective * (1 + 1e-12)
        best = again


@pytest.mark.parametrize("stage", ["first network", "first bound"])
def test_ctrl_c_soon_after_resuming_loses_no_bound(tmp_path: Path, stage: str) -> None:
    """Before the stored dual was looked at the bound was 0, in the certificate and in the next checkpoint."""
    program, path = small_program(), tmp_path / "c.npz"
    best = cut_short(program, after=75, checkpoint=path)
    assert best.report.lower_bound > 0
    stored = replace(read_checkpoint(path), search={"count": np.array(3)})
    again = cut_short(program, stage=stage, after=0, checkpoint=path, resume=stored)
    last = certnet.train(program, time_limit=0.0, resume=read_checkpoint(path))
    assert again.report.lower_bound >= best.report.lower_bound * (1 - 1e-7)
    assert again.report.objective <= best.report.objective * (1 + 1e-12)
    assert_same_arrays(read_checkpoint(path).search or {}, stored.search or {})
    assert last.report.objective <= best.report.objective * (1 + 1e-12)


@pytest.mark.parametrize("name", ["rows", "size", "W", "blocks", "head"])
def test_damaged_groups_are_one_sentence(tmp_path: Path, name: str) -> None:
    whole = in_groups().arrays()
    damaged = [whole[name].ravel() if name == "W" else whole[name][:0], *([whole[name] * 2] if name == "rows" else [])]
    for array in (*damaged, *([] if name == "size" else [whole[name].astype("f4")])):
        with pytest.raises(InputError, match="within groups"):
            GroupedDual.of_arrays({**whole, name: array})
    with pytest.raises(InputError, match="within groups"):
        GroupedDual.of_arrays({other: array for other, array in whole.items() if other != name})


def test_a_job_in_groups_is_resumed_with_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all products would leave too few steps; the bound of the checkpoint counts at once."""
    for module in (narrowing, many_rows):
        monkeypatch.setattr(module, "FEWEST_STEPS", 10**9)
    monkeypatch.setattr(many_rows, "GROUP_SIZES", (6,))
    program, path = small_program(), tmp_path / "c.npz"
    first = certnet.train(program, solver="admm", time_limit=3.0, tolerance=1e-9, checkpoint=path)
    assert first.resumable
    assert first.certificate.proof.groups.size
    stored = read_checkpoint(path)
    assert isinstance(stored.dual, GroupedDual)
    again = certnet.train(program, time_limit=0.5, tolerance=1e-9, resume=stored)
    assert again.report.verdict is Verdict.PROVED
    assert again.report.lower_bound >= first.report.lower_bound * (1 - 1e-7)


def test_a_stored_search_goes_on_though_no_gap_is_named(tmp_path: Path) -> None:
    """What it had proved is in its tree alone."""
    X, path = rng(0).standard_normal((12, 6)), tmp_path / "c.npz"
    program = TrainingProgram(X, rng(1).standard_normal((12, 1)), 0.3)
    first = certnet.train(program, gap=1e-6, max_nodes=3, checkpoint=path)
    assert first.search is not None
    assert first.resumable
    again = certnet.train(program, resume=read_checkpoint(path), max_nodes=5, checkpoint=path)
    assert again.search is not None
    assert again.search.nodes > first.search.nodes
    assert again.report.lower_bound >= first.report.lower_bound * (1 - 1e-7)


def test_a_job_that_stops_at_its_gap_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its solver has not converged, and need not."""
    for module in (narrowing, many_rows):
        monkeypatch.setattr(module, "FEWEST_STEPS", 10**9)
    monkeypatch.setattr(many_rows, "GROUP_SIZES", (6,))
    for name in ("is_quick", "_tree_is_quick"):
        monkeypatch.setattr(relaxing, name, lambda *_: False)
    path, random = tmp_path / "c.npz", rng(0)
    program = TrainingProgram(random.standard_normal((12, 6)), rng(1).standard_normal((12, 1)), 1.0)
    found = certnet.train(program, solver="admm", time_limit=20.0, gap=0.25, checkpoint=path)
    assert found.report.gap <= 0.25
    assert found.certificate.proof.groups.size
    assert not found.resumable
    assert not path.exists()


def test_the_checkpoint_of_a_finished_job_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    result = certnet.train(small_program(), checkpoint=path)
    assert not result.resumable
    assert not path.exists()
    assert result.relaxation.solver == "interior-point"  # where there is no checkpoint of another one


def test_the_time_limit_leaves_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    X = rng(0).standard_normal((60, 4))
    program = TrainingProgram(X, rng(1).standard_normal((60, 2)), 0.2)
    result = certnet.train(program, solver="admm", tolerance=1e-12, time_limit=0.5, checkpoint=path)
    assert result.resumable
    stored = read_checkpoint(path)
    assert stored.fingerprint == program_fingerprint(program)
    again = certnet.train(program, resume=stored, time_limit=0.5)
    assert again.report.lower_bound >= result.report.lower_bound * (1 - 1e-7)
    np.testing.assert_array_equal(stored.U, result.U)


@pytest.mark.parametrize("size", [-1.0, pytest.param(1e3, marks=pytest.mark.slow), 1e200, np.nan])
def test_no_dual_in_a_checkpoint_can_forge_a_bound(cut: tuple[float, Checkpoint], size: float) -> None:
    objective, stored = cut
    with np.errstate(all="ignore"):
        dual = Dual(size * stored.dual.W, size * stored.dual.N)
        forged = replace(stored, dual=dual, iterate=(size * stored.iterate[0], dual))
        result = cut_short(small_program(), resume=forged)
    assert result.report.verdict is Verdict.PROVED
    assert result.report.lower_bound <= objective


def test_a_checkpoint_of_other_data_is_refused(cut: tuple[float, Checkpoint]) -> None:
    _, stored = cut
    with pytest.raises(InputError, match="other data or another gamma"):
        certnet.train(small_program(0.2), resume=stored)
    with pytest.raises(InputError, match="do not fit together"):
        certnet.train(small_program(), resume=replace(stored, U=np.ones((1, 2))))


def test_auto_goes_on_with_the_solver_of_the_checkpoint_and_time_adds_up(
    cut: tuple[float, Checkpoint], tmp_path: Path
) -> None:
    result = cut_short(small_program(), resume=cut[1], solver="auto", checkpoint=tmp_path / "c.npz")
    assert read_checkpoint(tmp_path / "c.npz").seconds > cut[1].seconds > 0
    assert result.relaxation.solver == "admm"
    assert "admm" in result.choice


def test_bound_and_objective_are_known_before_the_relaxation_and_only_improve() -> None:
    events: list[certnet.Event] = []
    result = certnet.train(small_program(), progress=events.append, time_limit=60.0)
    stages = [event.stage for event in events]
    figures = [event for event in events if event.objective is not None and event.lower_bound is not None]
    assert stages.index(figures[0].stage) == stages.index("first network")
    assert {"relaxation", "rounding", "certificate"} <= {event.stage for event in figures}
    for earlier, later in pairwise(figures):
        assert later.lower_bound >= earlier.lower_bound
        assert later.objective <= earlier.objective
        assert later.time_left <= earlier.time_left
    assert figures[0].lower_bound > 0
    assert figures[-1].lower_bound <= result.report.objective <= figures[-1].objective * (1 + 1e-9)
