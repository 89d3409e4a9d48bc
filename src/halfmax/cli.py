"""The command line: thin commands over the package."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from halfmax import RESEARCH_USE
from halfmax.cli_compare import ablate, compare, print_metrics
from halfmax.cli_data import data_app
from halfmax.cli_explain import explain
from halfmax.cli_pilot import design_pilot, read_measured
from halfmax.cli_screen import ON_HELP, WORKERS_HELP
from halfmax.cli_screen import screen as screen_command
from halfmax.cli_serve import serve, store_app
from halfmax.cli_tune import tune
from halfmax.cluster import connect, is_helper, serve_rank
from halfmax.errors import DataError, HalfmaxError
from halfmax.terminal import (
    check_ending,
    console,
    download_bars,
    names_of,
    predictor_folder,
    run_progress,
    say,
    write_table,
)

app = typer.Typer(
    help=f"Predict how strongly a cancer sample responds to a drug. {RESEARCH_USE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data_app, name="data")
app.command("design-pilot")(design_pilot)
app.command()(serve)
app.add_typer(store_app, name="store")
app.command("explain")(explain)
app.command()(tune)
app.command("screen")(screen_command)
app.command()(compare)
app.command()(ablate)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status; what goes wrong is told in words, never as a traceback."""
    try:
        app(args=argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (HalfmaxError, OSError) as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            console.print(line, style="red", markup=False, soft_wrap=True)
        return 2
    return 0


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


@app.command()
def run(
    config: Annotated[Path | None, typer.Option(help="A TOML file; every run writes the one that repeats it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, e.g. model.width=256.")] = None,
    protocol: Annotated[str | None, typer.Option(help="LPO, LCO, LDO or LTO: what is left out.")] = None,
    folds: Annotated[Path | None, typer.Option(help="Fixed folds: a table with columns cell, drug, fold.")] = None,
    models: Annotated[str | None, typer.Option(help="Comma-separated names, naive first.")] = None,
    measure: Annotated[str | None, typer.Option(help="ln_ic50 or auc.")] = None,
    data: Annotated[str | None, typer.Option(help="An embedded dataset, or a dataset folder.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME by default.")] = None,
    fresh: Annotated[bool, typer.Option(help="Forget what an unfinished run left in the folder.")] = False,
    deterministic: Annotated[
        int | None, typer.Option(min=1, metavar="THREADS", help="The same bits each time, with so many threads.")
    ] = None,
    on: Annotated[str | None, typer.Option(help=ON_HELP)] = None,
    workers: Annotated[int | None, typer.Option(min=1, help=WORKERS_HELP)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Cross-validate models beside the baselines, write a report, and save a predictor fitted on all data.

    Without options: GDSC2 ln IC50, unseen cell lines, five folds. A run that was cut off goes on when the same command
    is given again.
    """
    if on == "torchrun" and is_helper():
        serve_rank()
        return
    from halfmax.config import load_config
    from halfmax.models.loop import deterministic as same_bits
    from halfmax.run import load_data
    from halfmax.run import run as run_all

    options: dict[str, object] = {
        "split__protocol": protocol,
        "split__folds": str(folds) if folds else None,
        "models": [m.strip() for m in models.split(",") if m.strip()] if models else None,
        "data__measure": measure,
        "name": name,
    }
    if data is not None:
        options["data__folder" if Path(data).is_dir() else "data__name"] = data
    checked = load_config(config, set_ or (), **options)
    folder = out or Path("runs") / checked.name
    with download_bars() as fetching:
        dataset = load_data(checked, on_download=fetching)
    title = f"{checked.split.protocol} · {dataset.name}"
    threads = same_bits(deterministic) if deterministic else nullcontext()
    with run_progress(title, quiet=quiet) as show, threads, connect(on, workers) if on else nullcontext() as cluster:
        report, _ = run_all(checked, folder, dataset=dataset, on_progress=show, fresh=fresh, cluster=cluster)
    print_metrics(report.metrics, report.ladder)
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    console.print(f"report     {folder / 'report.html'}\npredictor  {folder / 'predictor'}", markup=False)
    console.print(RESEARCH_USE, style="dim")


@app.command("cross-study")
def cross_study(
    train: Annotated[str, typer.Argument(help="The screen to learn from: an embedded dataset, or a dataset folder.")],
    test: Annotated[str, typer.Argument(help="The screen to score in, on lines that were not learned from.")],
    config: Annotated[Path | None, typer.Option(help="A TOML file that says which features and models.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as in run.")] = None,
    folds: Annotated[Path | None, typer.Option(help="Fixed folds: a table with columns cell, fold.")] = None,
    models: Annotated[str, typer.Option(help="Comma-separated names.")] = "drug_mean,mean_effects,kernel_ridge",
    measure: Annotated[str | None, typer.Option(help="ln_ic50 or auc (which needs the doses of both).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; runs/NAME-cross-study by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Learn from one screen and score unseen cell lines in another, on the drugs that both tested."""
    from halfmax.between_screens import cross_study as study
    from halfmax.between_screens import read_folds
    from halfmax.config import load_config
    from halfmax.evaluate import ModelSpec
    from halfmax.run import load_data, make_features, make_threshold

    names = [m.strip() for m in models.split(",") if m.strip()]
    options: dict[str, object] = {"models": names, "save": [], "data__measure": measure}
    screens = []
    for screen in (train, test):
        place: dict[str, object] = {"data__folder" if Path(screen).is_dir() else "data__name": screen}
        checked = load_config(config, set_ or (), **options, **place)
        with download_bars() as fetching:
            screens.append(load_data(checked, on_download=fetching))
    section = checked.split
    with run_progress(f"{screens[0].name} → {screens[1].name}", quiet=quiet) as show:
        found = study(
            screens[0],
            screens[1],
            [ModelSpec(name, name, checked.params_of(name)) for name in names],
            folds=None if folds is None else read_folds(folds, screens),
            n_folds=section.n_folds,
            only=section.only,
            features=lambda: make_features(checked),
            require=checked.features.modalities[:1] if checked.features.require is None else checked.features.require,
            threshold=make_threshold(checked),
            valid_fraction=section.valid_fraction,
            n_boot=checked.n_boot,
            seed=checked.seed,
            on_progress=show,
        )
    folder = found.write(out or Path("runs") / f"{checked.name}-cross-study")
    print_metrics(found.results.metrics, names)
    for finding in found.findings:
        console.print(str(finding), markup=False)
    for row in found.agreement.to_dict("records"):
        told = f"{row['n_pairs']} pairs measured in both agree within drugs at r = {row['within_drug_pearson']:.3f}"
        console.print(told, markup=False)
    console.print(f"tables     {folder}", markup=False)


@app.command()
def predict(
    predictor: Annotated[Path, typer.Argument(help="A predictor folder, or a run folder that holds one.")],
    expression: Annotated[Path, typer.Option(help="Expression table: samples × genes or genes × samples.")],
    mutation: Annotated[Path | None, typer.Option(help="Mutation table, 0/1.")] = None,
    copy_number: Annotated[Path | None, typer.Option(help="Copy-number table.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Table of samples: sample_id, tissue, ….")] = None,
    drugs: Annotated[str | None, typer.Option(help="Comma-separated drug names, or a file with one a line.")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the expression table, where it is not plain.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write .csv, .json or .parquet; CSV to the screen otherwise.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first N drugs of each sample.")] = None,
    allow_low_coverage: Annotated[bool, typer.Option(help="Predict although too few genes are known.")] = False,
    harmonise: Annotated[
        str, typer.Option(help="Put expression onto the training's scale: rank, zscore, cohort, …, or auto.")
    ] = "none",
    measured: Annotated[
        Path | None, typer.Option(help="Values measured in these samples: sample_id, drug_id, value.")
    ] = None,
    bridge: Annotated[
        Path | None, typer.Option(help="Training samples' values in the assay of --measured, where it is another one.")
    ] = None,
    level: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Share of values that low to high are to hold.")
    ] = 0.9,
    allow_outside: Annotated[
        bool, typer.Option(help="Answer for samples that lie outside the training samples, too.")
    ] = False,
) -> None:
    """Rank drugs for new samples by predicted response against each drug's own mean."""
    from halfmax.data.readers.table import read_omics, read_samples
    from halfmax.predictor import Predictor
    from halfmax.uncertainty.answers import interval_findings, withhold

    check_ending(out)
    if bridge is not None and measured is None:
        raise DataError("--bridge says what assay --measured comes from; give --measured as well.")
    loaded = Predictor.load(predictor_folder(predictor))
    omics = {}
    for modality, path in (("expression", expression), ("mutation", mutation), ("copy_number", copy_number)):
        if path is not None:
            table = read_omics(path, modality, unit=unit if modality == "expression" else None)
            say(table.findings)
            omics[modality] = table.frame
            if modality == "expression":
                omics[modality], done = table.logged()
                say([done])
    about = None if samples is None else read_samples(samples)
    ranked, matches = loaded.predict_samples(
        omics,
        drugs=names_of(drugs, "--drugs") if measured is None else None,
        samples=about,
        allow_low_coverage=allow_low_coverage,
        harmonise=harmonise,
        level=level,
    )
    for match in matches.values():
        say(match.findings)
    if measured is not None:
        values = read_measured(measured, loaded.measure_)
        other = None if bridge is None else read_measured(bridge, loaded.measure_)
        ranked, found = loaded.add_measured(ranked, values, bridge=other, drugs=names_of(drugs, "--drugs"))
        say(found)
    if top is not None:
        ranked = ranked[ranked["rank"] <= top]
    if not allow_outside:
        ranked, found = withhold(ranked)
        say(found)
    say(interval_findings(loaded.intervals_, loaded.measure_.label, level))
    write_table(ranked, out, f"prediction: {loaded.measure_.label}")
