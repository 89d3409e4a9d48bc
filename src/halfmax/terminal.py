"""What every command says on the terminal: messages and progress go to standard error, results to standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from halfmax.data.findings import Finding
    from halfmax.evaluate import Progress

console = Console(stderr=True, highlight=False)
#: Where nobody watches (a file, a log), a line is written at most so often [s].
_LINE_EVERY = 10.0


def say(findings: Iterable[Finding]) -> None:
    """Print findings, coloured by their level."""
    styles = {"info": "dim", "warning": "yellow", "error": "red"}
    for finding in findings:
        console.print(f"{finding.level}: {finding.message}", style=styles[finding.level], markup=False, soft_wrap=True)


@contextmanager
def download_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each file or task while the block runs."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show


@contextmanager
def run_progress(title: str, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show where a cross-validation is and how long it still takes, while the block runs.

    A bar on a terminal; elsewhere plain lines, one every ten seconds; nothing if `quiet`.
    """
    remaining = Remaining()
    if quiet:
        yield lambda where: None
    elif console.is_terminal:
        yield from _bar(title, remaining)
    else:
        yield _lines(title, remaining)


def _bar(title: str, remaining: Remaining) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(f"{title} · data", total=None, left="")

        def show(where: Progress) -> None:
            left = _left(remaining.after(where))
            words = f"{title} · {_words(where)}"
            bars.update(task, total=where.total, completed=where.done, description=words, left=left)

        yield show


def _lines(title: str, remaining: Remaining) -> Callable[[Progress], None]:
    told = -_LINE_EVERY

    def show(where: Progress) -> None:
        nonlocal told
        left, now = _left(remaining.after(where)), time.monotonic()
        if now - told >= _LINE_EVERY or not where.model:
            told = now
            words = (title, f"{min(where.done + 1, where.total)} of {where.total}", _words(where), left)
            console.print(" · ".join(filter(None, words)), markup=False, soft_wrap=True)

    return show


def _words(where: Progress) -> str:
    words = f"fold {where.fold} · {where.model}" if where.model else "writing the report"
    if where.epoch is not None:
        loss, epochs = where.log.get("valid_loss", where.log.get("train_loss")), where.log.get("epochs")
        words += f" · epoch {where.epoch}" + ("" if epochs is None else f" of {epochs:.0f}")
        words += "" if loss is None else f" · loss {loss:.4f}"
    return words


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min left"
    return f"{minutes} min {rest:02d} s left" if minutes else f"{rest} s left"


class Remaining:
    """How long a cross-validation still takes, from how long each model took on a fold before.

    On the first fold a network's epochs say how long it takes itself; what comes after it is unknown there, and taken
    to be like what was seen.

    Parameters
    ----------
    clock
        Returns the time [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._took: dict[str, float] = {}
        self._order: list[str] = []
        self._folds: list[str] = []
        self._now: tuple[int, str, float] | None = None
        self._phase = (0, 0.0)
        self._before = 0.0

    def after(self, where: Progress) -> float | None:
        """Take note of where it is, and return the seconds left; None while nothing is known."""
        before, now = self._before, self._clock()
        self._before = now
        if self._now is None or self._now[:2] != (where.done, where.model):
            self._begin(where, now)
        if not where.model or self._now is None:
            return None
        spent = now - self._now[2]
        here = self._took.get(where.model)
        whole = spent if here is None else max(here, spent)
        if here is None and where.epoch is not None and "epochs" in where.log:
            if where.epoch <= self._phase[0]:
                self._phase = (0, before)  # a network is trained twice: to find the best epoch, and on all rows
            share = where.log["epochs"] / max(where.epoch, 1) - 1
            whole = spent + (now - self._phase[1]) * share
            self._phase = (where.epoch, self._phase[1])
        elif not self._took:
            return None
        known = {**self._took, where.model: whole}
        usual = sum(known.values()) / len(known)
        n_models = len(self._order) if len(self._folds) > 1 else 0
        later = range(where.done + 1, where.total)
        names = (self._order[k % n_models] if n_models else "" for k in later)
        return whole - spent + sum(known.get(name, usual) for name in names)

    def _begin(self, where: Progress, now: float) -> None:
        if self._now is not None:
            model, took = self._now[1], now - self._now[2]
            self._took[model] = max(self._took.get(model, 0.0), took)  # one that was finished before takes no time
        if where.fold not in self._folds:
            self._folds.append(where.fold)
        if len(self._folds) == 1:
            self._order.append(where.model)
        self._now, self._phase = (where.done, where.model, now), (0, now)
