"""The command that says why: attributions of pairs, and whether the model leans on known biomarkers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halfmax import RESEARCH_USE
from halfmax.errors import DataError
from halfmax.terminal import console, names_of, predictor_folder, say

if TYPE_CHECKING:
    import pandas as pd

    from halfmax.explain import Explainer, Explanation


def explain(
    predictor: Annotated[Path, typer.Argument(help="A predictor folder, or a run folder that holds one.")],
    expression: Annotated[
        Path | None, typer.Option(help="Expression table; without one, samples of the predictor's background.")
    ] = None,
    mutation: Annotated[Path | None, typer.Option(help="Mutation table, 0/1.")] = None,
    copy_number: Annotated[Path | None, typer.Option(help="Copy-number table.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Table of samples: sample_id, tissue, ….")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the expression table, where it is not plain.")] = None,
    sample: Annotated[str | None, typer.Option(help="Comma-separated samples, or a file with one a line.")] = None,
    drug: Annotated[str | None, typer.Option(help="Comma-separated drugs, or a file with one a line.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Features shown; what all others add is one row.")] = 20,
    pathways: Annotated[Path | None, typer.Option(help="GMT file of gene sets to add attributions up by.")] = None,
    tissue: Annotated[str | None, typer.Option(help="Compare with background samples of this tissue only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write .csv, .tsv, .json, .parquet, or .svg of one pair.")] = None,
    allow_low_coverage: Annotated[bool, typer.Option(help="Explain although too few genes are known.")] = False,
    check_biomarkers: Annotated[
        bool, typer.Option("--check-biomarkers", help="Say where known drug–gene associations rank.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="With --check-biomarkers: data to rank by ridge and Spearman beside the model.")
    ] = None,
) -> None:
    """Say which genes a predicted response comes from, against the drug's mean over background samples."""
    from halfmax.explain import Explainer
    from halfmax.explain.exports import WRITTEN, text, write
    from halfmax.explain.groups import Groups
    from halfmax.predictor import Predictor

    if out is not None and out.suffix not in WRITTEN:
        raise DataError(f"--out {out}: the ending is {', '.join(WRITTEN)}.")
    if data is not None and not check_biomarkers:
        raise DataError("--data is what --check-biomarkers compares with; give that as well.")
    explainer = Explainer(Predictor.load(predictor_folder(predictor)), tissue=tissue)
    if check_biomarkers:
        _check(explainer, data, out)
        return
    omics = _profiles(explainer, {"expression": expression, "mutation": mutation, "copy_number": copy_number}, unit)
    about = None if samples is None else _table(samples)
    chosen = names_of(sample, "--sample")
    groups = None if pathways is None else Groups.read(pathways)
    found = explainer.explain(
        _only(omics, chosen), names_of(drug, "--drug"), samples=about, allow_low_coverage=allow_low_coverage
    )
    say(found.findings)
    if out is not None:
        write(found, out, top=top, groups=groups)
        console.print(f"{found.prediction.size} pairs explained in {out}", markup=False)
        console.print(RESEARCH_USE, style="dim")
        return
    _print(found, text, top, groups)


def _print(found: Explanation, text, top: int, groups) -> None:  # type: ignore[no-untyped-def]
    pairs = [(s, d) for s in found.sample_ids.tolist() for d in found.drug_ids.tolist()]
    if len(pairs) > 12:
        raise DataError(f"{len(pairs)} pairs are too many for a screen; name a --sample and --drug, or give --out.")
    typer.echo("\n\n".join(text(found, s, d, top=top, groups=groups) for s, d in pairs))


def _profiles(explainer: Explainer, paths: dict[str, Path | None], unit: str | None) -> dict[str, pd.DataFrame]:
    """Return the profiles of the files, or of the background where there is no file."""
    from halfmax.data.readers.table import read_omics

    if paths["expression"] is None:
        if any(path is not None for path in paths.values()):
            raise DataError("give --expression as well: a profile is explained whole.")
        held = explainer.background
        return held.frames({name: explainer.predictor.features_.input_names(name) for name in held.omics})
    out = {}
    for modality, path in paths.items():
        if path is not None:
            table = read_omics(path, modality, unit=unit if modality == "expression" else None)
            say(table.findings)
            out[modality] = table.frame
            if modality == "expression":
                out[modality], done = table.logged()
                say([done])
    return out


def _table(path: Path) -> pd.DataFrame:
    from halfmax.data.readers.table import read_samples

    return read_samples(path)


def _only(omics: dict[str, pd.DataFrame], chosen: list[str] | None) -> dict[str, pd.DataFrame]:
    from halfmax.errors import UnknownNameError, did_you_mean

    if chosen is None:
        return omics
    known = {str(i).lower(): i for i in omics["expression"].index} if "expression" in omics else {}
    known |= {str(i).lower(): i for frame in omics.values() for i in frame.index}
    if unknown := [name for name in chosen if name.lower() not in known]:
        names = list(map(str, known.values()))
        raise UnknownNameError(
            f"{len(unknown)} samples are not among the {len(names)} profiles, e.g. {unknown[:3]}."
            f"{did_you_mean(unknown[0], names)}"
        )
    ids = [known[name.lower()] for name in chosen]
    return {name: frame[frame.index.isin(ids)] for name, frame in omics.items()}


def _check(explainer: Explainer, data: str | None, out: Path | None) -> None:
    """Print and write where known associations rank in the model, and in ridge and Spearman where data are given."""
    from rich.console import Console
    from rich.table import Table

    from halfmax.explain.recovery import check_predictor
    from halfmax.terminal import write_table

    dataset = None
    if data is not None:
        from halfmax.config import load_config
        from halfmax.run import load_data

        key = "data__folder" if Path(data).is_dir() else "data__name"
        dataset = load_data(load_config(None, (), **{key: data}))
    found = check_predictor(explainer, dataset)
    if out is not None:
        write_table(found.associations, out, "rank: place among features in the expected direction")
    for shown, title in ((found.associations, "Known associations"), (found.shares, "Found in the first places")):
        columns = [c for c in shown.columns if c not in ("source", "identifier", "screens", "level")]
        table = Table(*columns, box=None, title=title)
        for row in shown[columns].itertuples(index=False):
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row))
        Console().print(table)
    Console().print(f"{found.verdict}\n{RESEARCH_USE}", markup=False, soft_wrap=True)
