"""The weight decay by validation: no row is on both sides, the path goes down, and what did best is taken."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from certnet.jobs import selection
from certnet.jobs.folds import Rows, divided, fold_numbers, mean_loss, outputs_of
from certnet.jobs.selection import select_gamma
from certnet.runtime.clock import Event
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray
from tests.strategies import SEEDS, rng

FREE = {"hidden_bias": "free", "output_bias": "free"}


def classes(seed: int, n: int = 40, c: int = 3) -> tuple[FloatArray, FloatArray]:
    """Classes that overlap, one-hot."""
    generator = rng(seed)
    label = generator.integers(0, c, n)
    return generator.standard_normal((n, 2)) + np.eye(c, 2)[label], np.eye(c)[label]


@given(SEEDS, st.integers(2, 60), st.integers(1, 4))
@settings(max_examples=60)
def test_rows_that_judge_are_not_among_the_others(seed: int, n: int, repeats: int) -> None:
    """Neither are their copies, whatever these have as targets; and every row judges once, one in five at a time."""
    generator = rng(seed)
    X = generator.integers(0, 4, (n, 2)).astype(float).repeat(repeats, axis=0)
    Y = generator.standard_normal((len(X), 1))
    distinct = len(np.unique(X, axis=0))
    if distinct < 2:
        with pytest.raises(InputError, match="same features"):
            fold_numbers(X, Y, 5, seed)
        return
    weights = generator.integers(0, 2, len(X)) + np.arange(len(X)) * 1e-3 + 1e-6
    folds = divided(Rows(X, Y, weights), 5, seed)
    assert len(folds) == min(distinct, 5)
    for fitted, held in folds:
        assert not {*map(tuple, held.X.tolist())} & {*map(tuple, fitted.X.tolist())}
        assert abs(len(np.unique(held.X, axis=0)) - distinct / len(folds)) < 1
        assert len(fitted.X) + len(held.X) == len(X)
    assert sorted(np.concatenate([held.weights for _, held in folds])) == sorted(weights)
    np.testing.assert_array_equal(fold_numbers(X, Y, 5, seed), fold_numbers(X, Y, 5, seed))


@pytest.mark.parametrize("signs", [True, False])
def test_every_class_gives_one_row_in_five(signs: bool) -> None:
    label = np.repeat([0, 1], [50, 10])
    Y = np.where(label, 1.0, -1.0)[:, None] if signs else np.eye(2)[label]
    number = fold_numbers(rng(0).standard_normal((60, 3)), Y, 5, 7)
    for fold in range(5):
        assert [np.count_nonzero(label[number == fold] == which) for which in (0, 1)] == [10, 2]


def test_a_class_of_one_row_judges_nothing_and_rows_of_weight_0_take_no_part() -> None:
    Y = np.eye(3)[[0] * 7 + [1] * 5 + [2]]
    rows = Rows(rng(0).standard_normal((13, 2)), Y, np.r_[0.0, 0.0, np.ones(11)])
    folds = divided(rows, 5, 0)
    assert [len(held.X) for _, held in folds] == [2] * 5
    for fitted, held in folds:
        assert len(fitted.X) == 9
        assert (fitted.Y.sum(axis=0) > 0).all()
        assert not held.Y[:, 2].any()


def test_few_rows_scout_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path on all rows begins where few did best, whose own γ is smaller, and the loss is no worse."""
    (X, Y), (X_val, Y_val) = ((X, Y[:, 1:] - Y[:, :1]) for X, Y in (classes(seed, 60, c=2) for seed in (0, 1)))
    given_ = {"loss": "logistic", "validation": (X_val, Y_val, None), **FREE}
    whole = select_gamma(X, Y, **given_)
    monkeypatch.setattr(selection, "SETTINGS", replace(selection.SETTINGS, scout_rows=20))
    told: list[Event] = []
    scouted = select_gamma(X, Y, **given_, progress=told.append)
    scouts = [event.note for event in told if event.note and event.note.startswith("20 rows, ")]
    best = min(scouts, key=lambda note: float(note.split("loss ")[1].split(",")[0]))
    assert scouted.gammas[0] == float(best.split("γ = ")[1].split(":")[0])
    assert len(scouted.gammas) < len(whole.gammas)
    assert min(scouted.losses) < 1.1 * min(whole.losses)
    # The top of the path is found in time quadratic in the rows: 80 s for 100,000 of them.
    sizes, first = [], selection.zero_decay
    monkeypatch.setattr(selection, "zero_decay", lambda program: sizes.append(len(program.X)) or first(program))
    select_gamma(X, Y, **given_)
    assert sizes == [20]


def test_the_choice_is_what_did_best_on_the_way_down() -> None:
    (X, Y), (X_val, Y_val) = ((X, Y[:, 1:] - Y[:, :1]) for X, Y in (classes(seed, c=2) for seed in (0, 1)))
    told: list[Event] = []
    given_ = {"loss": "logistic", "validation": (X_val, Y_val, None), **FREE}
    found = select_gamma(X, Y, **given_, progress=told.append)
    assert list(found.gammas) == sorted(found.gammas, reverse=True)
    assert found.losses[found.gammas.index(found.gamma)] == min(found.losses)
    assert found.complete
    assert not found.interrupted
    assert found.rows == 40
    assert [f"{gamma:g}" in event.note for gamma, event in zip(found.gammas, told, strict=True)] == [True] * len(told)
    # The classes overlap, so that the smallest decay overfits: the path ended before it, and no end was chosen.
    assert len(found.gammas) < selection.SETTINGS.steps
    assert found.gammas[0] > found.gamma > found.gammas[-1]
    # About chance at the first.
    assert found.losses[0] == pytest.approx(np.log(2), rel=0.1)
    assert min(found.losses) < 0.95 * np.log(2)


def test_the_first_of_the_path_is_about_where_the_zero_network_is_best() -> None:
    X, Y = classes(2)
    for loss, biases in (("cross-entropy", FREE), ("squared", {"hidden_bias": "penalised"}), ("squared", {})):
        program = TrainingProgram(X, Y, 1.0, loss=loss, **biases)
        gammas = selection.gammas_from(selection.zero_decay(program))
        zero = np.zeros((program.shape[1], 0)), np.zeros((3, 0))
        networks = []
        for gamma in (2.0 * gammas[0], 0.3 * gammas[0]):
            at = TrainingProgram(X, Y, gamma, loss=loss, **biases)
            generator = np.random.default_rng(0)
            networks.append(selection.improved(at, zero, generator, selection.Deadline.after(None))[0].shape[1])
        assert networks[0] == 0 < networks[1]
        assert gammas[0] / gammas[-1] == pytest.approx(1e5, rel=0.1)


def test_the_validation_loss_is_the_mean_log_loss_by_weights() -> None:
    X, Y = classes(3)
    program = TrainingProgram(X, Y, 1.0, loss="cross-entropy", **FREE)
    generator = rng(4)
    U, V, weights = generator.standard_normal((3, 5)), generator.standard_normal((3, 5)), generator.uniform(size=40)
    scores = np.maximum(np.hstack([X, np.ones((40, 1))]) @ U, 0.0) @ V.T + program.output(U, V)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = log_loss(Y.argmax(axis=1), p, sample_weight=weights)
    assert mean_loss(program, outputs_of(program, U, V, X), Y, weights) == pytest.approx(expected, rel=1e-12)


def test_a_weight_is_a_number_of_rows_on_both_sides() -> None:
    """Weights 2 choose as rows that are there twice, up to the ends of the fits."""
    (X, Y), (X_val, Y_val) = classes(5, 20), classes(6, 20)
    twice, twice_val = rng(0).integers(1, 3, 20), rng(1).integers(1, 3, 20)
    kinds: dict[str, Any] = {"output_bias": "free"}
    weighted = select_gamma(X, Y, sample_weight=twice, validation=(X_val, Y_val, twice_val), **kinds)
    rows, rows_val = np.arange(20).repeat(twice), np.arange(20).repeat(twice_val)
    repeated = select_gamma(X[rows], Y[rows], validation=(X_val[rows_val], Y_val[rows_val], None), **kinds)
    assert weighted.gammas == repeated.gammas
    np.testing.assert_allclose(weighted.losses, repeated.losses, rtol=0.05)


def test_validation_rows_that_are_training_rows_do_not_count() -> None:
    X, Y = classes(7)
    new = classes(8)
    both = np.vstack([X, new[0]]), np.vstack([Y, new[1]])
    kinds = {"output_bias": "free"}
    found, clean = (select_gamma(X, Y, validation=(*rows, None), **kinds) for rows in (both, new))
    assert found.rows == 40
    assert found.losses == clean.losses
    with pytest.raises(InputError, match="--gamma"):
        select_gamma(X, Y, validation=(X, Y, None), **kinds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Y": np.ones((40, 6))}, "Y_val has 6 columns where 3"),
        ({"X": np.ones((40, 1))}, "X_val has 1 columns where 2"),
        ({"weights": np.full(40, -1.0)}, "sample_weight_val has a negative entry"),
        ({"weights": np.ones(7)}, "sample_weight_val has 7 rows where 40"),
    ],
)
def test_validation_rows_that_do_not_fit_are_named(change: dict[str, Any], words: str) -> None:
    """Targets of other columns were broadcast, and judged all the same."""
    rows = dict(zip(("X", "Y", "weights"), (*classes(8), None), strict=True)) | change
    with pytest.raises(InputError, match=words):
        select_gamma(*classes(7), validation=tuple(rows.values()), output_bias="free")


def test_time_and_ctrl_c_end_the_path_early(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = classes(9)
    found = select_gamma(X, Y, loss="cross-entropy", **FREE, time_limit=0.0)
    assert (len(found.gammas), found.complete, found.interrupted) == (1, False, False)
    # The first γ is one at which about the zero network is best.
    assert found.gamma == selection.gammas_from(found.gammas[0])[selection.SETTINGS.unseen]
    assert found.judged is None
    assert "is a guess" in str(found.remark)
    calls = []

    def press(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return improved(*arguments)

    improved = selection.improved
    monkeypatch.setattr(selection, "improved", press)
    # What a fit was when it was broken off says nothing about its γ.
    found = select_gamma(X, Y, output_bias="free")
    assert (len(found.gammas), found.complete, found.interrupted) == (2, False, True)
    assert "cut short after 2" in str(found.remark)


def test_a_loss_that_rises_in_a_fit_that_was_broken_off_ends_no_path() -> None:
    path = selection.gammas_from(1000.0)
    fifth = path[selection.SETTINGS.unseen]
    for losses, stop, choice in (
        ([1.0], "late", fifth),
        ([1.0, 1.1], "late", fifth),
        ([1.0, 0.9, 0.95, 1.0], "late", path[1]),
        ([1.0, 0.9, 0.95, 1.0], "", path[1]),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.7], "late", path[4]),
    ):
        walk = selection._Walk(None, path[: len(losses)], losses, stop=stop)
        assert selection._guess(walk) == choice


def test_rows_without_weight_are_none_where_validation_is_given() -> None:
    """The rows that scout are drawn from those that count."""
    X, Y = classes(3, n=700)
    weight, (X_val, Y_val) = np.zeros(700), classes(4, n=20)
    weight[-30:] = 1.0
    how = {"loss": "cross-entropy", "validation": (X_val, Y_val, None), **FREE}
    found, fewer = select_gamma(X, Y, sample_weight=weight, **how), select_gamma(X[-30:], Y[-30:], **how)
    assert (found.gamma, found.losses) == (fewer.gamma, fewer.losses)


def test_a_path_cut_short_at_its_top_leads_on_to_smaller_decays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows, too, where a busy machine left time for one γ to the rows that scout."""
    monkeypatch.setattr(selection, "SETTINGS", replace(selection.SETTINGS, scout_rows=20))
    found = select_gamma(*classes(9), loss="cross-entropy", **FREE, time_limit=0.0)
    whole = select_gamma(*classes(9), loss="cross-entropy", **FREE)
    assert whole.remark is None
    # At the top of the path about the zero network is best; what scouts leave with time is below that.
    assert found.gamma == found.gammas[0] <= whole.gammas[0]
    assert "cut short after 1" in str(found.remark)


@pytest.mark.slow
def test_without_validation_rows_the_choice_depends_on_the_seed_alone() -> None:
    X, Y = classes(10)
    found, again, other = (select_gamma(X, Y, output_bias="free", random_state=s) for s in (0, 0, 1))
    assert found.losses == again.losses != other.losses
    assert (found.rows, found.folds) == (40, 5)
    outputs, targets = found.judged
    assert sorted(map(tuple, targets)) == sorted(map(tuple, Y))
    assert 0.5 * ((outputs - targets) ** 2).sum() / 40 == pytest.approx(min(found.losses))


def test_one_fold_alone_judges_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it does where time does not suffice for another one."""
    fewer = replace(selection.SETTINGS, scout_rows=39)
    for name, value, options in (("SETTINGS", fewer, {}), ("SLACK", float("inf"), {"time_limit": 60.0})):
        with monkeypatch.context() as patch:
            patch.setattr(selection, name, value)
            found = select_gamma(*classes(10), output_bias="free", **options)
        assert (found.rows, found.folds) == (8, 1)
