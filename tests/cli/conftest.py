"""Fixtures of the command line's tests: each runs in an empty folder of its own."""

from pathlib import Path

import pytest

from tests.cli.support import Call, caller, quick_choice, quick_train, write_points


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def certnet(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in ``folder``."""
    return caller(capsys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the job by one that takes milliseconds."""
    monkeypatch.setattr("certnet.jobs.train.train", quick_train)


@pytest.fixture(autouse=True)
def _quick_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the choice of the weight decay where a test names none; its own tests put it back."""
    monkeypatch.setattr("certnet.jobs.selection.select_gamma", quick_choice)


@pytest.fixture
def points(folder: Path) -> Path:
    """A small CSV file with decimal commas."""
    return write_points(folder)
