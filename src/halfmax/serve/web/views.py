"""Routes of the pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from halfmax import RESEARCH_USE, __version__
from halfmax.data.units import EXPRESSION_UNITS
from halfmax.errors import HalfmaxError, UnknownNameError
from halfmax.serve.answers import csv_text, json_response, rows_of_table
from halfmax.serve.api.state import State, caller_of
from halfmax.serve.inputs import Samples, read_upload, received
from halfmax.serve.problems import as_problem
from halfmax.serve.service import Service
from halfmax.serve.web import answers, figures
from halfmax.serve.web.kept import Kept, KeptSamples

router = APIRouter(include_in_schema=False, dependencies=[Depends(caller_of)])
#: Only our own scripts, styles and pictures; nothing inline, nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_EXAMPLE = "A375"
Sample = Annotated[str | None, Query(max_length=200)]


def add_pages(app: FastAPI) -> None:
    """Add the pages and their files to the application."""
    app.mount("/static", StaticFiles(packages=[("halfmax.serve.web", "static")]), name="static")
    app.include_router(router)


@router.get("/")
async def start(state: State) -> Response:
    """Upload a profile, or take the example."""
    service = await state.look(lambda: state.live.get("latest"))
    card, lines = await state.compute(lambda: (service.card(), len(service.sample_ids())))
    return _page("start.html", service, units=EXPRESSION_UNITS, card=card, lines=lines)


@router.post("/samples/upload")
async def upload(request: Request, state: State) -> Response:
    """Read an uploaded table, keep it, and go to what was read."""
    _same_origin(request)
    fields: dict[str, str] = {}
    async with received(request, state.settings, fields) as (path, name):
        unit = fields.get("unit") or None

        def work() -> str:
            samples = read_upload(path, name, state.settings, modality="expression", unit=unit)
            state.live.get("latest").match(samples.omics)
            return _kept(state).put(samples, name)

        try:
            key = await state.compute(work)
        except HalfmaxError as error:
            return _problem(error, await state.look(lambda: state.live.get("latest")))
    return RedirectResponse(f"/s/{key}", status_code=303)


@router.post("/samples/example")
async def example(request: Request, state: State) -> Response:
    """Take a training line as if it were uploaded."""
    _same_origin(request)

    def work() -> str:
        service = state.live.get("latest")
        known = service.sample_ids()
        name = _EXAMPLE if _EXAMPLE in known else known[0]
        omics, about = service.known_samples([name])
        return _kept(state).put(Samples(omics, about), f"example: the cell line {name}", example=True)

    return RedirectResponse(f"/s/{await state.compute(work)}", status_code=303)


@router.post("/s/{key}/delete")
async def delete(key: str, request: Request, state: State) -> Response:
    """Delete what was uploaded, now."""
    _same_origin(request)

    def work() -> Response:
        _kept(state).delete(key)
        return _page("deleted.html", state.live.get("latest"))

    return await _guarded(state, work)


@router.get("/s/{key}")
async def ranking(
    key: str,
    state: State,
    sample: Sample = None,
    sort: Annotated[str, Query(max_length=20)] = "percentile",
    q: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """What was read, where the sample lies, and every drug in order."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        name = sample or _names(kept)[0]
        table = answers.ranked(service, kept, name, sort=sort, search=q)
        matched, findings = service.match(kept.samples.omics)
        found = np.isfinite(matched["expression"].loc[[name]].to_numpy()).mean()
        has_lines = bool(service.sample_ids())
        return {
            "sample": name,
            "names": _names(kept),
            "rows": _rows(table, service),
            "sort": sort,
            "q": q,
            "findings": [*kept.samples.findings, *findings],
            "coverage": float(found),
            "n_genes": matched["expression"].shape[1],
            "first": table.iloc[0].to_dict() if len(table) else {},
            "similar": service.similar({"expression": kept.samples.omics["expression"].loc[[name]]}, n=8).table
            if has_lines
            else None,
            "map": answers.place_among_lines(service, kept) if has_lines else None,
            "here": f"/s/{key}?sample={quote(name)}&sort={quote(sort)}&q={quote(q)}&v=1",
        }

    return await _answer(state, key, "ranking.html", work)


@router.get("/s/{key}/drug/{drug:path}")
async def drug_page(key: str, drug: str, state: State, sample: Sample = None) -> Response:
    """One drug: this sample's interval among all measured lines."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        name = sample or _names(kept)[0]
        drug_id = str(service.predictor.find_drugs([drug]).index[0])
        table = answers.ranked(service, kept, name)
        row = table[table["drug_id"] == drug_id].iloc[0]
        value, tissue = answers.measured(service, drug_id)
        low, high = float(row.get("low", np.nan)), float(row.get("high", np.nan))
        by_tissue = by_rank = None
        if len(value) and np.isfinite(row["prediction"]):
            by_tissue = figures.lines_of_drug(value, tissue, row["prediction"], low, high, service.measure)
            by_rank = figures.waterfall(value, tissue, row["prediction"], name, service.measure)
        return {
            "sample": name,
            "drug": drug_id,
            "row": _rows(table[table["drug_id"] == drug_id], service)[0],
            "n_lines": len(value),
            "by_tissue": by_tissue,
            "by_rank": by_rank,
        }

    return await _answer(state, key, "drug.html", work)


@router.get("/s/{key}/why/{drug:path}")
async def why(
    key: str, drug: str, state: State, sample: Sample = None, top: Annotated[int, Query(ge=3, le=200)] = 15
) -> Response:
    """Why the prediction of a pair is what it is."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        name = sample or _names(kept)[0]
        drug_id = str(service.predictor.find_drugs([drug]).index[0])
        return {"sample": name, "drug": drug_id, "top": top, **answers.why(service, kept, name, drug_id, top)}

    return await _answer(state, key, "why.html", work)


@router.get("/s/{key}/what-if/{drug:path}")
async def what_if(
    key: str, drug: str, gene: Annotated[str, Query(max_length=100)], state: State, sample: Sample = None
) -> Response:
    """What the model says as one gene is moved."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        name = sample or _names(kept)[0]
        drug_id = str(service.predictor.find_drugs([drug]).index[0])
        figure = answers.moved(service, kept, name, drug_id, gene)
        return {"sample": name, "drug": drug_id, "gene": gene, "figure": figure}

    return await _answer(state, key, "what_if.html", work)


@router.get("/s/{key}/compare")
async def compare(key: str, state: State) -> Response:
    """All samples of the upload, side by side."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        grid = answers.compared(service, kept)
        return {"figure": figures.comparison(grid, service.predictor.measure_.unit), "grid": grid}

    return await _answer(state, key, "compare.html", work)


@router.get("/s/{key}/report.html")
async def report(key: str, state: State, sample: Sample = None) -> Response:
    """Everything on one page that loads nothing and prints well."""

    def work(service: Service, kept: Kept) -> dict[str, Any]:
        name = sample or _names(kept)[0]
        table = answers.ranked(service, kept, name)
        best = table["drug_id"].head(5).tolist()
        return {
            "sample": name,
            "rows": _rows(table.head(40), service),
            "whys": [(drug, answers.why(service, kept, name, drug, 10)) for drug in best] if _explains(service) else [],
            "card": service.card(),
            "style": _style(),
            "findings": kept.samples.findings,
        }

    response = await _answer(state, key, "report.html", work)
    response.headers["content-disposition"] = f'attachment; filename="halfmax-{key[:6]}.html"'
    return response


@router.get("/s/{key}/ranking.{ending}")
async def download(key: str, ending: str, state: State, sample: Sample = None) -> Response:
    """The ranked table as CSV, JSON or Parquet."""

    def work() -> Response:
        service, kept = state.live.get("latest"), _kept(state).get(key)
        table = answers.ranked(service, kept, sample or _names(kept)[0]).drop(columns="drug")
        return _file(table, ending, service)

    return await state.compute(work)


@router.get("/gene/{gene}")
async def gene_page(gene: str, state: State, drug: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """One gene over all drugs, and one of them line by line."""

    def work() -> Response:
        service = state.live.get("latest")
        table = answers.gene_over_drugs(service, gene)
        shown = drug or (str(table["drug_id"].iloc[0]) if len(table) else None)
        scatter = None
        if shown is not None and service.dataset is not None:
            value, tissue = answers.measured(service, shown)
            level = service.dataset.omics["expression"][gene].reindex(value.index)
            scatter = figures.gene_scatter(level, value, tissue, gene, service.measure)
        return _page(
            "gene.html",
            service,
            gene=gene,
            drug=shown,
            rows=table.head(50).to_dict("records"),
            figure=figures.gene_volcano(table, gene),
            scatter=scatter,
        )

    return await _guarded(state, work)


@router.get("/drugs")
async def drugs(state: State) -> Response:
    """Every drug that the predictor knows."""

    def work() -> Response:
        service = state.live.get("latest")
        table = service.drugs()[["n_samples", "mean"]].join(answers.facts_of_drugs(service))
        return _page("drugs.html", service, rows=table.reset_index(names="drug_id").to_dict("records"))

    return await _guarded(state, work)


@router.get("/model")
async def model(state: State) -> Response:
    """The model card."""

    def work() -> Response:
        from halfmax.card import make_card

        service = state.live.get("latest")
        return _page("model.html", service, card=make_card(service.predictor), digest=service.digest)

    return await _guarded(state, work)


async def _answer(state: State, key: str, template: str, work: Callable[[Service, Kept], dict[str, Any]]) -> Response:
    def answer() -> Response:
        service, kept = state.live.get("latest"), _kept(state).get(key)
        return _page(template, service, key=key, title=kept.title, example=kept.example, **work(service, kept))

    return await _guarded(state, answer)


async def _guarded(state: State, work: Callable[[], Response]) -> Response:
    try:
        return await state.compute(work)
    except HalfmaxError as error:
        return _problem(error, await state.look(lambda: state.live.get("latest")))


def _page(template: str, service: Service, status: int = 200, **content: Any) -> HTMLResponse:
    text = _templates().get_template(template).render(service=service, **content)
    return HTMLResponse(text, status, headers={"content-security-policy": POLICY, "cache-control": "no-store"})


def _problem(error: Exception, service: Service) -> HTMLResponse:
    problem = as_problem(error)
    status = 404 if isinstance(error, UnknownNameError) else problem.status_code
    return _page("problem.html", service, status, message=str(problem.detail))


@lru_cache(maxsize=1)
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("halfmax.serve.web"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    found.globals |= {"research_use": RESEARCH_USE, "version": __version__}
    found.filters |= {"number": _number, "json": _data, "part": lambda text: quote(str(text), safe="")}
    return found


def _number(value: Any, form: str = "{:.2f}") -> str:
    return "–" if value is None or (isinstance(value, float) and not np.isfinite(value)) else form.format(value)


def _data(value: Any) -> Any:
    """Return JSON that can stand in a data block: no sequence in it can end the block."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _style() -> str:
    return resources.files("halfmax.serve.web").joinpath("static/app.css").read_text(encoding="utf-8")


def _kept(state: State) -> KeptSamples:
    return KeptSamples.of(state.settings)


def _names(kept: Kept) -> list[str]:
    return [str(i) for i in kept.samples.omics["expression"].index]


def _explains(service: Service) -> bool:
    return getattr(service.predictor, "background_", None) is not None


def _rows(table: pd.DataFrame, service: Service) -> list[dict[str, Any]]:
    """Return the table's rows with where each interval lies between the drug's 1st and 99th measured percentile."""
    rows = []
    for found in table.to_dict("records"):
        row = {str(name): value for name, value in found.items()}
        quantiles = service.drug_quantiles(row["drug_id"])
        least, most = float(quantiles[1]), float(quantiles[-2])
        span = max(most - least, 1e-9)
        place = {
            k: float(np.clip((row.get(k, np.nan) - least) / span, 0, 1) * 100) for k in ("low", "prediction", "high")
        }
        rows.append(row | {"place": place, "range": (least, most), "text": _span(row)})
    return rows


def _span(row: dict[str, Any]) -> str:
    low, high = row.get("low", np.nan), row.get("high", np.nan)
    return "no interval" if not np.isfinite([low, high]).all() else f"{low:.2f} to {high:.2f}"


def _file(table: pd.DataFrame, ending: str, service: Service) -> Response:
    import io

    name = f'attachment; filename="halfmax-ranking.{ending}"'
    headers = {"content-disposition": name, "cache-control": "no-store"}
    if ending == "csv":
        return Response(csv_text(table, service.measure), media_type="text/csv", headers=headers)
    if ending == "json":
        return json_response({"measure": service.measure, "rows": rows_of_table(table)}, headers=headers)
    if ending == "parquet":
        out = io.BytesIO()
        table.assign(research_use=RESEARCH_USE).to_parquet(out, index=False)
        return Response(out.getvalue(), media_type="application/vnd.apache.parquet", headers=headers)
    raise HalfmaxError("a ranking is written as csv, json or parquet.")


def _same_origin(request: Request) -> None:
    """Refuse a form that another site sent."""
    from halfmax.serve.problems import RequestProblem

    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RequestProblem(403, "other-site", "the form was sent by another site.")
