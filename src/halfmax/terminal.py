"""What commands say and write: messages and progress to standard error, results to standard output or a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from halfmax import RESEARCH_USE
from halfmax.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.data.findings import Finding
    from halfmax.evaluate import Progress

#: Endings of the tables that commands write.
WRITTEN = (".csv", ".tsv", ".json", ".parquet")

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


def predictor_folder(folder: Path) -> Path:
    """Return the predictor's folder, given it or a run's folder that holds one."""
    return folder / "predictor" if (folder / "predictor").is_dir() else folder


def names_of(given: str | None, option: str) -> list[str] | None:
    """Return names separated by commas, or the lines of a file; None where the option was not given."""
    if given is None:
        return None
    path = Path(given)
    text = path.read_text(encoding="utf-8").splitlines() if path.is_file() else given.split(",")
    names = [line.strip() for line in text if line.strip()]
    if not names:
        raise DataError(f"{option} {given!r} holds no name.")
    return names


def check_ending(out: Path | None) -> None:
    """Raise DataError if no table is written to a file of this ending."""
    if out is not None and out.suffix not in WRITTEN:
        raise DataError(f"--out {out}: the ending is {', '.join(WRITTEN)}.")


def write_table(table: pd.DataFrame, out: Path | None, about: str) -> None:
    """Write a table to a file by its ending, or as CSV to standard output, with what it is and what it is for.

    Parameters
    ----------
    about
        What the numbers are, such as ``prediction: ln_ic50 [ln µM]``.
    """
    from halfmax.data.storage import atomic_file
    from halfmax.data.tables import escape_formula

    if out is None:
        sys.stdout.write(f"# {RESEARCH_USE} {about}\n")
        escape_formula(table).to_csv(sys.stdout, index=False, float_format="%.4f")
        return
    what, _, value = about.partition(": ")
    with atomic_file(out) as path:
        if out.suffix == ".parquet":
            table.assign(research_use=RESEARCH_USE).to_parquet(path, index=False)
        elif out.suffix == ".json":
            rows = json.loads(table.to_json(orient="records", double_precision=6))
            content = {"research_use": RESEARCH_USE, what: value, "rows": rows}
            path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        else:
            text = escape_formula(table).to_csv(
                index=False, sep="\t" if out.suffix == ".tsv" else ",", float_format="%.6g"
            )
            path.write_text(f"# {RESEARCH_USE} {about}\n{text}", encoding="utf-8")
    console.print(f"{len(table)} rows written to {out}", markup=False)
