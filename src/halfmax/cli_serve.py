"""The commands of the service: serve, tokens and stored predictors."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halfmax import RESEARCH_USE
from halfmax.errors import DataError
from halfmax.terminal import console, download_bars, predictor_folder, run_progress

if TYPE_CHECKING:
    from halfmax.serve.settings import ServeSettings
    from halfmax.serve.store.store import Store

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
Home = Annotated[Path | None, typer.Option(help="Folder of the service's state; under HALFMAX_HOME by default.")]
store_app = typer.Typer(help="Tokens, stored predictors and the audit log of the service.", no_args_is_help=True)


def serve(
    run: Annotated[Path | None, typer.Argument(help="A predictor folder, or a run folder that holds one.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    home: Home = None,
    data: Annotated[Path | None, typer.Option(help="Dataset folder of the training samples.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that work off batch jobs.")] = 1,
    require_token: Annotated[bool, typer.Option(help="Answer nobody without a token (halfmax store token).")] = False,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest JSON body [MiB].")] = 20,
    retention_days: Annotated[float, typer.Option(min=0, help="Delete jobs after so many days.")] = 30.0,
) -> None:
    """Serve a predictor over HTTP: the one given, the newest run's, or one trained on the embedded data now.

    The database is SQLite in the state folder, or PostgreSQL where HALFMAX_DATABASE_URL names one.
    """
    _need("fastapi", "uvicorn", "sqlalchemy", "alembic", "multipart")
    from halfmax.data.dataset import ResponseDataset
    from halfmax.serve.app import create_app
    from halfmax.serve.server import serve as answer
    from halfmax.serve.service import Service
    from halfmax.serve.threads import limit_threads

    if host not in _LOOPBACK and not require_token:
        console.print(
            f"warning: {host} can be reached from other machines, and no token is asked for; see --require-token.",
            style="yellow",
        )
    settings = _settings(
        home,
        job_workers=workers,
        require_token=require_token,
        max_body=max_body_mb << 20,
        retention_days=retention_days,
    )
    logging.getLogger("halfmax.serve.access").setLevel(logging.INFO)
    limit_threads(settings.blas_threads)
    folder = predictor_folder(run) if run is not None else newest_predictor(Path("runs"))
    if folder is None:
        folder = _train(settings)
    store = _store(settings)
    found = store.predictors.add(folder, "default")
    store.predictors.point("latest", found.name, found.version)
    store.close()
    dataset = None if data is None else ResponseDataset.load(data)
    service = Service.open(
        settings.home / "predictors" / found.digest, name=f"default@{found.version}", dataset=dataset
    )
    app = create_app(settings, service)
    console.print(
        f"predictor  {folder}\nlistening  http://{host}:{port}/api/v1\nstate      {settings.home}", markup=False
    )
    console.print(RESEARCH_USE, style="dim")
    answer(app, settings, host=host, port=port)


def newest_predictor(runs: Path) -> Path | None:
    """Return the predictor folder of the newest run, or None."""
    found = [path.parent for path in runs.glob("*/predictor/manifest.json")]
    return max(found, key=lambda p: (p / "manifest.json").stat().st_mtime, default=None)


@store_app.command("token")
def token(
    tenant: Annotated[str, typer.Argument(help="Whose jobs the holder sees.")],
    admin: Annotated[bool, typer.Option(help="May change predictors and read the audit log.")] = False,
    days: Annotated[float | None, typer.Option(min=0, help="Valid for so many days; for ever by default.")] = None,
    home: Home = None,
) -> None:
    """Make a bearer token; it is shown once, and only its hash is kept."""
    store = _store(_settings(home))
    typer.echo(store.tokens.create(tenant, admin=admin, days=days))
    store.audit.add("local", "token", tenant)


@store_app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="The 16 letters and digits after hm_.")], home: Home = None
) -> None:
    """Let a token count no longer."""
    store = _store(_settings(home))
    if not store.tokens.revoke(token_id):
        raise DataError(f"there is no token {token_id!r}.")
    store.audit.add("local", "revoke", token_id)


@store_app.command("add")
def add(
    predictor: Annotated[Path, typer.Argument(help="A predictor folder, or a run folder that holds one.")],
    name: Annotated[str, typer.Argument(help="Name under which it is kept.")],
    alias: Annotated[str | None, typer.Option(help="Let this alias stand for it, e.g. latest.")] = None,
    home: Home = None,
) -> None:
    """Keep a predictor in the store; a running service takes it over when its golden batch comes out right."""
    store = _store(_settings(home))
    found = store.predictors.add(predictor_folder(predictor), name)
    if alias:
        store.predictors.point(alias, found.name, found.version)
    store.audit.add("local", "add", f"{found.name}@{found.version}")
    typer.echo(f"{found.name}@{found.version} {found.digest}")


@store_app.command("audit")
def audit(home: Home = None) -> None:
    """Check the audit log row by row."""
    typer.echo(f"{_store(_settings(home)).audit.verify()} rows, each follows from the one before")


def _settings(home: Path | None, **options: object) -> ServeSettings:
    from halfmax.serve.settings import DATABASE_URL, ServeSettings, default_home

    return ServeSettings(home=home or default_home(), database_url=os.environ.get(DATABASE_URL), **options)  # type: ignore[arg-type]


def _store(settings: ServeSettings) -> Store:
    _need("sqlalchemy", "alembic")
    from halfmax.serve.store.store import Store

    return Store(settings)


def _train(settings: ServeSettings) -> Path:
    """Train the default predictor on the embedded data, and return its folder."""
    from halfmax.config import load_config
    from halfmax.predictor import Predictor
    from halfmax.run import load_data, make_features

    console.print("no predictor is here (runs/*/predictor); training the default one on the embedded data …")
    config = load_config(None, ())
    with download_bars() as fetching:
        dataset = load_data(config, on_download=fetching)
    dataset, _ = dataset.align(config.features.modalities[:1])
    name = config.saved_models[0]
    with run_progress(f"{name} · {dataset.name}"):
        predictor = Predictor.of(name, config.params_of(name)).fit(dataset, features=make_features(config))
    return predictor.save(settings.home / "trained")


def _need(*modules: str) -> None:
    from importlib.util import find_spec

    if missing := [name for name in modules if find_spec(name) is None]:
        raise DataError(f"the service needs {', '.join(missing)}; install them with: pip install 'halfmax[serve]'")
