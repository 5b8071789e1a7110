"""A result is all old or all new: whatever call is the last of a run, whatever call fails, and whoever else writes."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certificates.files import write_atomically
from certnet.io.output import OutputFolder, Writer, output_folder
from formulations import InputError
from tests.cli.support import files

NAMES = ("network.npz", "optimality.cert", "report.json")
CALLS = ("replace", "rename", "link", "symlink", "unlink", "mkdir", "rmdir", "fsync", "open")
KILLED, FAILED, DONE = 9, 7, 0
Act = Callable[[int], bool]
"""Called with the number of a system call; true where it has to fail."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill of a process does not lose what the system has not yet put on the disk, so nothing waits for that."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def writers(word: str) -> dict[str, Writer]:
    return {name: lambda path: path.write_text(word, encoding="utf-8") and None for name in NAMES}


def shown(folder: Path) -> list[str]:
    """What a plain reader finds under each name; an empty word where nothing is."""
    return [(folder / name).read_text(encoding="utf-8") if (folder / name).exists() else "" for name in NAMES]


@contextmanager
def watched(act: Act) -> Iterator[None]:
    """Every call that changes a file system is numbered, and ``act`` decides what becomes of it."""
    patch, count = pytest.MonkeyPatch(), 0

    def wrapped(call: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if act(count):
                raise OSError(errno.EIO, "Input/output error")
            return call(*arguments, **options)

        return run

    with patch.context() as context:
        for name in CALLS:
            context.setattr(os, name, wrapped(getattr(os, name)))
        yield


def in_a_child(work: Callable[[], None]) -> int:
    """How a process ends that does this."""
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            work()
            code = DONE
        except InputError:
            pass
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(at: int) -> Act:
    return lambda number: number >= at and os._exit(KILLED)


def without_links(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    patch.setattr(os, "symlink", refuse)


@pytest.mark.parametrize(
    ("before", "links"),
    [
        ("old", True),
        pytest.param("", False, marks=pytest.mark.slow),
        pytest.param("", True, marks=pytest.mark.slow),
        pytest.param("old", False, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_call_leaves_one_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, links: bool
) -> None:
    if not links:
        without_links(monkeypatch)
    found = set()
    for at in range(1, 200):
        place = tmp_path / str(at)
        folder = OutputFolder.prepare(place)
        if before:
            folder.write(writers(before))

        def work(folder: OutputFolder = folder, at: int = at) -> None:
            with watched(die(at)):
                folder.write(writers("new"))

        end = in_a_child(work)
        words = shown(place)
        found.add(tuple(words))
        assert len(set(words) - ({""} if not links else set())) <= 1
        with output_folder(place, files=NAMES):
            settled = shown(place)
            assert settled in ([before] * 3, ["new"] * 3)
            assert settled == words or not links
            assert files(place) == ([*NAMES] if settled[0] else [])
            assert not any((place / name).is_symlink() for name in NAMES)
        if end == DONE:
            break
        assert end == KILLED
    assert end == DONE
    assert {(before,) * 3, ("new",) * 3} <= found


@pytest.mark.parametrize("lasting", [True, False])
@pytest.mark.parametrize("before", ["", "old"])
def test_a_failure_at_any_call_leaves_one_result(tmp_path: Path, before: str, lasting: bool) -> None:
    for at in range(1, 200):
        place = tmp_path / str(at)
        folder = OutputFolder.prepare(place)
        if before:
            folder.write(writers(before))
        failed, count = False, 0

        def act(number: int, at: int = at) -> bool:
            nonlocal count
            count = number
            return number >= at if lasting else number == at

        with watched(act):
            try:
                folder.write(writers("new"))
            except InputError:
                failed = True
        assert shown(place) == [before if failed else "new"] * 3
        with output_folder(place, files=NAMES):
            assert shown(place) == [before if failed else "new"] * 3
            assert files(place) == ([*NAMES] if before or not failed else [])
        if count < at:
            break
    assert count < at


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    with output_folder(tmp_path, files=NAMES) as folder:
        folder.write(writers("first"))
        with pytest.raises(InputError, match=r"Another run is writing to .*; wait"), output_folder(tmp_path, files=()):
            pass
        assert shown(tmp_path) == ["first"] * 3
    with output_folder(tmp_path, files=NAMES) as folder:
        folder.write(writers("second"))
    assert files(tmp_path) == [*NAMES]


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with output_folder(tmp_path, files=NAMES):
            os._exit(KILLED)

    assert in_a_child(work) == KILLED
    with output_folder(tmp_path, files=NAMES) as folder:
        folder.write(writers("next"))


def test_only_abandoned_files_of_certnet_are_removed(tmp_path: Path) -> None:
    mine = [".x.part", ".certnet-notes.txt", "a.0123456789abcdef.part", ".c.0123456789abcdef.part.gz"]
    for name in mine:
        (tmp_path / name).write_text("mine")

    def work() -> None:
        with watched(lambda _: False):
            write_atomically(tmp_path / "checkpoint.npz", lambda file: (file.write(b"x" * 10**5), os._exit(KILLED)))

    assert in_a_child(work) == KILLED
    assert len(files(tmp_path)) == len(mine) + 1
    OutputFolder.prepare(tmp_path)
    assert files(tmp_path) == sorted(mine)


def test_a_temporary_file_in_use_stays(tmp_path: Path) -> None:
    def write(file: object) -> None:
        file.write(b"x" * 10**5)  # type: ignore[attr-defined]
        OutputFolder.prepare(tmp_path)

    write_atomically(tmp_path / "checkpoint.npz", write)
    assert files(tmp_path) == ["checkpoint.npz"]


def test_results_of_another_command_are_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"command": "optimality"}')
    other = pytest.raises(InputError, match="holds the results of certnet optimality")
    with other, output_folder(tmp_path, files=NAMES, command="train"):
        pass
    for text in ("[]", "{", '{"command": 3}', "[" * 10**5):
        (tmp_path / "report.json").write_text(text)
        with output_folder(tmp_path, files=NAMES, command="train"):
            pass


def test_the_users_own_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    place = tmp_path / "o"
    place.mkdir()
    (place / NAMES[0]).symlink_to("../elsewhere")
    OutputFolder.prepare(place).write(writers("new"))
    assert shown(place) == ["new"] * 3
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_ctrl_c_while_a_result_is_written_does_not_lose_it(tmp_path: Path) -> None:
    pressed = []

    def press(path: Path) -> None:
        path.write_text("new", encoding="utf-8")
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    folder = OutputFolder.prepare(tmp_path)
    assert folder.deliver(lambda place, remarks: ({}, {**writers("new"), NAMES[1]: press})) == ({}, None)
    assert pressed
    assert shown(tmp_path) == ["new"] * 3


def test_a_result_that_can_be_written_nowhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    folder = OutputFolder.prepare(tmp_path / "o")
    report, remark = folder.deliver(lambda place, remarks: ({"place": place, "remarks": remarks}, {"a": full}))
    assert report == {"place": None, "remarks": (remark,)}
    assert remark is not None
    assert "No space left on device" in remark
    assert "no file was written" in remark
    assert files(tmp_path) == ["temporary"]
