"""Fits of one short round: these tests are about the interface, not about how good networks are."""

import functools
from dataclasses import replace

import pytest

from certnet.estimators import base
from certnet.training import fit, trainer


@pytest.fixture
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    effort = {"wide_starts": 0, "many_samples": 20, "some_samples": 20, "patience": 0, "many_steps": 20}
    start = {"quick_width": 10, "quick_iterations": 10, "quick_neurons_per_row": 0}
    monkeypatch.setattr(trainer, "SETTINGS", replace(trainer.SETTINGS, **effort, **start))
    monkeypatch.setattr(base, "fit", functools.partial(fit, max_rounds=1))
