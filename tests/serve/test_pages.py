"""The pages: upload to answer without JavaScript, nothing inline that runs, hostile names harmless, deleted is gone."""

from __future__ import annotations

import hashlib
import json
import re
import time
from importlib import resources

import numpy as np
import pandas as pd
import pytest
import requests

from halfmax import RESEARCH_USE
from halfmax.errors import UnknownNameError
from halfmax.serve.inputs import Samples
from halfmax.serve.web.kept import KeptSamples
from tests.serve.conftest import PROFILES


def get(server, path, **more):
    return requests.get(server.url + path, timeout=60, **more)


def upload(server, table: pd.DataFrame, name: str = "mine.csv"):
    text = table.to_csv().encode()
    # made-up profiles have values that no unit is known by
    return requests.post(
        f"{server.url}/samples/upload", files={"file": (name, text)}, data={"unit": "zscore_gene"}, timeout=60
    )


@pytest.fixture(scope="module")
def kept(shared):
    answer = upload(shared, PROFILES)
    assert answer.status_code == 200, answer.text
    return "/" + answer.url.split("/", 3)[3]


def test_an_upload_leads_to_every_drug_in_order(shared, kept, predictor):
    page = get(shared, kept).text
    table, _ = predictor.predict_samples({"expression": PROFILES.iloc[[0]]}, allow_low_coverage=True)
    order = table.sort_values("percentile", kind="stable")["drug_id"].tolist()
    assert re.findall(r'/drug/([^"?]+)\?', page)[: len(order)] == order
    assert "of the model's genes" in page


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_downloads_hold_the_table_and_its_use(shared, kept, ending):
    answer = get(shared, f"{kept}/ranking.{ending}")
    assert answer.status_code == 200
    if ending == "json":
        assert json.loads(answer.text)["research_use"] == RESEARCH_USE
    if ending == "csv":
        assert answer.text.startswith(f"# {RESEARCH_USE}")


PAGES = ["", "/drug/D01", "/why/D01", "/what-if/D01?gene=TP53", "/compare", "/report.html"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_its_use_and_runs_nothing_inline(shared, kept, path):
    answer = get(shared, kept + path)
    assert answer.status_code == 200, answer.text
    assert RESEARCH_USE in answer.text
    scripts = re.findall(r"<script([^>]*)>", answer.text)
    assert all("src=" in s or 'type="application/json"' in s for s in scripts)
    assert not re.search(r"\son\w+=", answer.text)
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_figures_close_exactly(shared, kept):
    page = get(shared, f"{kept}/why/D01").text
    figure = json.loads(re.search(r'<script type="application/json" id="genes">(.*?)</script>', page, re.DOTALL)[1])
    bars, (base, prediction) = figure["data"][0], [s["x0"] for s in figure["layout"]["shapes"]]
    assert base + sum(bars["x"]) == pytest.approx(prediction, abs=2e-3)
    assert np.add(bars["base"], bars["x"])[0] == pytest.approx(prediction, abs=2e-3)


def test_hostile_names_are_harmless(shared):
    table = PROFILES.iloc[:2].set_axis(["<script>alert(1)</script>", "b'\"</script>"])
    answer = upload(shared, table, "<img src=x onerror=alert(1)>.csv")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<img" not in answer.text
    key = answer.url.split("/", 3)[3]
    assert "<script>alert" not in get(shared, f"/{key}/compare").text


def test_what_cannot_be_read_is_told_on_a_page(shared):
    answer = requests.post(f"{shared.url}/samples/upload", files={"file": ("x.csv", b"no,table\n")}, timeout=60)
    assert answer.status_code == 422
    assert "That did not work" in answer.text
    assert "Traceback" not in answer.text


def test_deleted_is_gone(shared):
    key = upload(shared, PROFILES).url.rsplit("/", 1)[1]
    assert "Deleted" in requests.post(f"{shared.url}/s/{key}/delete", timeout=60).text
    assert get(shared, f"/s/{key}").status_code == 404
    assert get(shared, "/s/../../etc/passwd").status_code == 404
    assert get(shared, "/s/" + "A" * 22).status_code == 404


def test_another_site_cannot_send_forms(shared):
    answer = requests.post(
        f"{shared.url}/samples/upload",
        files={"file": ("x.csv", b"a")},
        headers={"Sec-Fetch-Site": "cross-site"},
        timeout=60,
    )
    assert answer.status_code == 403


def test_old_uploads_are_deleted_and_kept_ones_come_back(tmp_path):
    folder = KeptSamples(tmp_path / "kept")
    key = folder.put(Samples({"expression": PROFILES}, None), "mine")
    found = folder.get(key)
    pd.testing.assert_frame_equal(found.samples.omics["expression"], PROFILES, check_names=False)
    assert folder.tidy(days=1) == 0
    assert folder.tidy(days=-1) == 1
    with pytest.raises(UnknownNameError, match="deleted"):
        folder.get(key)


def test_vendored_scripts_are_the_ones_that_were_checked():
    vendor = resources.files("halfmax.serve.web").joinpath("static/vendor")
    listed = dict(reversed(line.split()) for line in vendor.joinpath("SHA256SUMS").read_text().splitlines())
    assert set(listed) == {p.name for p in vendor.iterdir() if p.name.endswith(".js")}
    for name, digest in listed.items():
        assert hashlib.sha256(vendor.joinpath(name).read_bytes()).hexdigest() == digest


def test_pages_are_for_holders_of_a_token_where_one_is_needed(serve):
    server = serve(require_token=True)
    assert get(server, "/").status_code == 401
    assert upload(server, PROFILES).status_code == 401
    token = server.state.store.tokens.create("lab")
    assert get(server, "/", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_running_service_deletes_what_is_beyond_retention(serve, tmp_path):
    home = tmp_path / "served"
    key = KeptSamples(home / "kept").put(Samples({"expression": PROFILES}, None), "old")
    serve(home=home, retention_days=-1.0)
    until = time.monotonic() + 20
    while (home / "kept" / key).exists():
        assert time.monotonic() < until
        time.sleep(0.05)
