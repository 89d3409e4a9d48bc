"""The command for bulk scoring: samples × a library of compounds, or × all known drugs, to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halfmax import RESEARCH_USE
from halfmax.cluster import connect, is_helper, serve_rank
from halfmax.terminal import console, names_of, predictor_folder, say

ON_HELP = "Where: here, cores, dask, tls://HOST:8786, slurm, torchrun. Each worker has one thread."
WORKERS_HELP = "How many workers to start; as many as cores by default."


def screen(
    predictor: Annotated[Path, typer.Argument(help="A predictor folder, or a run folder that holds one.")],
    samples: Annotated[
        Path, typer.Option("--samples", "--expression", help="Expression table; Parquet is read in blocks.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; the same command goes on where it was cut off.")],
    library: Annotated[
        Path | None, typer.Option(help="Compounds: .smi, .csv or .tsv, also .gz. Known drugs otherwise.")
    ] = None,
    drugs: Annotated[str | None, typer.Option(help="Known drugs: comma-separated names, or a file.")] = None,
    mutation: Annotated[Path | None, typer.Option(help="Mutation table, 0/1.")] = None,
    copy_number: Annotated[Path | None, typer.Option(help="Copy-number table.")] = None,
    about: Annotated[Path | None, typer.Option(help="Table of samples: sample_id, tissue, ….")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the expression table, where it is not plain.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Write the best N of each sample.")] = None,
    top_only: Annotated[
        bool, typer.Option("--top-only", help="Write the best of each sample alone, not all pairs.")
    ] = False,
    allow_low_coverage: Annotated[bool, typer.Option(help="Go on although too few genes are known.")] = False,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run left in the folder.")] = False,
    on: Annotated[str, typer.Option(help=ON_HELP)] = "cores",
    workers: Annotated[int | None, typer.Option(min=1, help=WORKERS_HELP)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Score samples × compounds in shards to Parquet files; a compound that cannot be read is reported by its line."""
    if on == "torchrun" and is_helper():
        serve_rank()
        return
    from halfmax.data.readers.table import read_samples
    from halfmax.screening import screen as run_screen

    files = {"expression": samples, "mutation": mutation, "copy_number": copy_number}

    def show(n_pairs: int, n_shards: int) -> None:
        if not quiet and n_shards % 20 == 0:
            console.print(f"{n_pairs:,} pairs", style="dim")

    with connect(on, workers) as cluster:
        done = run_screen(
            predictor_folder(predictor),
            {name: path for name, path in files.items() if path is not None},
            out,
            cluster=cluster,
            library=library,
            drugs=names_of(drugs, "--drugs"),
            top=top,
            pairs=not top_only,
            about=None if about is None else read_samples(about),
            unit=unit,
            allow_low_coverage=allow_low_coverage,
            fresh=fresh,
            on_progress=show,
        )
    say(done.findings)
    for row in done.rejected.head(3).itertuples():
        console.print(f"line {row.line}: {row.reason}", style="yellow", markup=False, soft_wrap=True)
    if len(done.rejected):
        console.print(f"rejected   {len(done.rejected):,} compounds, all in {out / 'rejected.csv'}", markup=False)
    console.print(f"scored     {done.n_pairs:,} pairs of {done.n_samples:,} samples\nresults    {out}", markup=False)
    console.print(RESEARCH_USE, style="dim")
