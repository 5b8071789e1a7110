"""Short fits: these tests are about the interface, not about how good networks are."""

from dataclasses import replace

import pytest

from certnet.training import quick, trainer


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "SETTINGS", replace(quick.SETTINGS, neurons=10, steps=50, rounds=1, starts=10))
    effort = {"wide_starts": 0, "many_samples": 20, "some_samples": 20, "patience": 0, "many_steps": 20}
    monkeypatch.setattr(trainer, "SETTINGS", replace(trainer.SETTINGS, **effort))
