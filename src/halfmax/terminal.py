"""What every command says on the terminal: messages and progress go to standard error, results to standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from halfmax.data.findings import Finding

console = Console(stderr=True, highlight=False)


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
