"""Short fits: these tests are about the interface, not about how good networks are."""

from dataclasses import replace

import pytest

from certnet.training import quick, trainer


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "SETTINGS", replace(quick.SETTINGS, neurons=10, steps=50, rounds=1, starts=10))
    effort = {"WIDE_STARTS": 0, "MANY_SAMPLES": 20, "SOME_SAMPLES": 20, "PATIENCE": 0, "MANY_STEPS": 20}
    for name, number in effort.items():
        monkeypatch.setattr(trainer, name, number)
