"""Progress: how long is left, and what is written where nobody watches."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from halfmax import terminal
from halfmax.evaluate import Progress
from halfmax.terminal import Remaining, run_progress


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def steps(n_folds: int, epochs: int) -> Iterator[tuple[float, Progress]]:
    """Yield seconds and events: a quick model, then a network that is trained twice, a second an epoch."""
    for fold in range(n_folds):
        done = 2 * fold
        yield 0.0, Progress(str(fold), "quick", done, 2 * n_folds)
        yield 2.0, Progress(str(fold), "slow", done + 1, 2 * n_folds)
        for epoch in [*range(1, epochs + 1), *range(1, epochs + 1)]:
            yield 1.0, Progress(str(fold), "slow", done + 1, 2 * n_folds, epoch, {"epochs": float(epochs)})


def test_the_time_left_is_exact_from_the_second_fold_on_when_every_fold_takes_as_long() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    whole, spent = 3 * (2.0 + 20.0), 0.0
    for seconds, where in steps(3, epochs=10):
        clock.now += seconds
        spent += seconds
        left = remaining.after(where)
        if where.fold != "0":
            assert left == pytest.approx(whole - spent)
    assert remaining.after(Progress("", "", 6, 6)) is None


def test_on_the_first_fold_a_networks_epochs_say_how_long_it_takes() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    found = []
    for seconds, where in steps(1, epochs=10):
        clock.now += seconds
        found.append(remaining.after(where))
    assert found[0] is None
    assert found[2:] == pytest.approx([*range(9, -1, -1), *range(9, -1, -1)])


def test_a_model_that_was_finished_before_does_not_shorten_what_is_left() -> None:
    clock = Clock()
    remaining = Remaining(clock)
    for fold, seconds in ((0, 8.0), (1, 0.0), (2, 8.0)):
        remaining.after(Progress(str(fold), "slow", fold, 4))
        clock.now += seconds
    assert remaining.after(Progress("3", "slow", 3, 4)) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s left"), (75, "1 min 15 s left"), (3_900, "1 h 05 min left")]
)
def test_the_time_left_is_said_in_words(seconds: float | None, text: str) -> None:
    assert terminal._left(seconds) == text


def shown(monkeypatch: pytest.MonkeyPatch, *, watched: bool, quiet: bool = False) -> str:
    """Return what is written of a thousand epochs."""
    file = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=file, force_terminal=watched, width=200, highlight=False))
    with run_progress("LCO · planted", quiet=quiet) as show:
        for epoch in range(1, 1001):
            show(Progress("0", "mlp", 0, 2, epoch, {"valid_loss": 0.5, "epochs": 1000.0}))
        show(Progress("", "", 2, 2))
    return file.getvalue()


def test_where_nobody_watches_few_plain_lines_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, watched=False).splitlines()
    assert lines[0].startswith("LCO · planted · 1 of 2 · fold 0 · mlp · epoch 1 of 1000 · loss 0.5000")
    assert lines[-1] == "LCO · planted · 2 of 2 · writing the report"
    assert len(lines) == 2
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar_and_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "writing the report" in shown(monkeypatch, watched=True)
    assert shown(monkeypatch, watched=True, quiet=True) == ""
