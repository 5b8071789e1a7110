"""Runs that are killed at random moments; ``python -m tests.crash 50`` does the same at length."""

import pytest

from tests.crash import crash


@pytest.mark.slow
def test_a_kill_never_leaves_half_a_result() -> None:
    found = crash(4, every=0.2, seconds=6.0, rows=60)
    assert all(entry.result for entry in found)
    assert any(entry.checkpoint is not None for entry in found)
    assert all(entry.hidden <= 2 for entry in found)
