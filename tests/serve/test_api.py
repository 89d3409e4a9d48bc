"""The API answers in JSON and CSV, and what cannot be answered is a problem with code and place."""

from __future__ import annotations

import gzip
import io
import json
import zipfile

import pytest
import requests

from tests.serve.conftest import PROFILES

RESEARCH_USE = "For Research Use Only. Not for use in diagnostic procedures."
PROFILE = {"sample_id": "mine", "expression": {g: float(v) for g, v in PROFILES.iloc[0].items()}}


def post(server, path, body=None, **more):
    return requests.post(f"{server.url}/api/v1{path}", json=body, timeout=30, **more)


def get(server, path, **more):
    return requests.get(f"{server.url}/api/v1{path}", timeout=30, **more)


def test_predict_says_what_the_predictor_says(shared, predictor):
    answer = post(shared, "/predict", {"samples": [PROFILE], "drugs": ["D01", "d03"]})
    assert answer.status_code == 200, answer.text
    rows = {r["drug_id"]: r["prediction"] for r in answer.json()["rows"]}
    plain, _ = predictor.predict_samples({"expression": PROFILES.iloc[:1]}, drugs=["D01", "D03"])
    expected = plain.set_index("drug_id")["prediction"].to_dict()
    assert rows == pytest.approx(expected, abs=1e-5)
    assert answer.json()["predictor"]["name"] == "planted"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/predict", {"samples": [PROFILE]}),
        ("post", "/rank", {"known": ["S001", "S002"], "top": 2}),
        ("post", "/similar", {"known": ["S001"], "n": 3}),
        ("get", "/predictors", None),
        ("get", "/predictors/latest", None),
        ("get", "/drugs?search=d0&limit=2", None),
        ("get", "/drugs/D01", None),
        ("get", "/genes", None),
        ("get", "/samples?limit=3", None),
        ("get", "/datasets/training", None),
        ("get", "/jobs", None),
        ("get", "/health/live", None),
        ("get", "/health/ready", None),
        ("get", "/audit", None),
        ("get", "/drugs/nothing", None),
        ("post", "/structures/check", {"smiles": "CC(=O)Oc1ccccc1C(=O)O.Cl"}),
        (
            "post",
            "/curves",
            {
                "wells": [
                    {"sample_id": "A", "drug_id": "D", "dose": d, "viability": v}
                    for d, v in ((0.01, 1.0), (0.1, 0.9), (1.0, 0.5), (10.0, 0.1), (30.0, 0.02))
                ]
            },
        ),
    ],
)
def test_every_answer_says_what_it_is_for(shared, method, path, body):
    answer = post(shared, path, body) if method == "post" else get(shared, path)
    assert answer.status_code == (404 if path.endswith("nothing") else 200), answer.text
    assert answer.json()["research_use"] == RESEARCH_USE
    assert answer.headers["X-Research-Use"] == RESEARCH_USE
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_explanation_closes_on_the_predicted_difference(shared):
    answer = post(shared, "/explain", {"samples": [PROFILE], "drugs": ["D01", "D02"], "top": 5})
    assert answer.status_code == 200, answer.text
    assert answer.json()["research_use"] == RESEARCH_USE
    pairs = answer.json()["pairs"]
    assert [pair["drug_id"] for pair in pairs] == ["D01", "D02"]
    for pair in pairs:
        assert pair["additivity_gap"] < 1e-4
        assert sum(row["attribution"] for row in pair["rows"]) == pytest.approx(pair["difference"], abs=1e-4)
        assert pair["prediction"] - pair["base"] == pytest.approx(pair["difference"])


def test_a_fitted_curve_finds_its_midpoint(shared):
    doses = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    wells = [{"sample_id": "A", "drug_id": "D", "dose": d, "viability": 1 / (1 + d / 2.0)} for d in doses]
    row = post(shared, "/curves", {"wells": wells}).json()["rows"][0]
    assert row["ln_ic50"] == pytest.approx(0.6931, abs=0.02)


def test_salts_are_taken_away_and_that_is_said(shared):
    told = post(shared, "/structures/check", {"smiles": "CC(=O)Oc1ccccc1C(=O)O.Cl"}).json()
    assert told["fragments_removed"] is True
    assert "." not in told["smiles"]


def test_a_table_may_lie_either_way_and_be_packed(shared):
    text = PROFILES.to_csv(index_label="sample").encode()
    turned = PROFILES.T.to_csv(index_label="gene").encode()
    expected = None
    for name, content in (("a.csv", text), ("b.csv", turned), ("c.csv.gz", gzip.compress(text))):
        answer = post(shared, "/rank/upload?top=1&unit=log2", files={"file": (name, content)})
        assert answer.status_code == 200, answer.text
        rows = [(r["sample_id"], r["drug_id"]) for r in answer.json()["rows"]]
        expected = expected or rows
        assert rows == expected
        assert len(rows) == 4
    raw = post(shared, "/rank/upload?top=1&unit=log2", data=text, headers={"Content-Type": "text/csv"})
    assert [(r["sample_id"], r["drug_id"]) for r in raw.json()["rows"]] == expected


def test_csv_is_no_formula_and_says_what_it_is_for(shared):
    body = {"samples": [{**PROFILE, "sample_id": "=cmd|' /C calc'!A0"}], "drugs": ["D01"]}
    answer = post(shared, "/predict?format=csv", body)
    first, _, row = answer.text.split("\n")[:3]
    assert first.startswith(f"# {RESEARCH_USE}")
    assert row.lstrip('"').startswith("'=cmd")


def problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "row", "column", "hint"} <= set(answer.json())
    assert "Traceback" not in answer.text
    return answer.json()


def raw(server, body, path="/predict", **headers):
    headers = {"Content-Type": "application/json", **headers}
    return requests.post(f"{server.url}/api/v1{path}", data=body, headers=headers, timeout=30)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"nan"', "1e400", "true", '"5"', "[1]"])
def test_what_is_no_number_is_422(shared, value):
    answer = raw(shared, f'{{"samples": [{{"expression": {{"TP53": {value}}}}}]}}')
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("not-a-number", "invalid-request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"known": ["S001"], "known": ["S002"]}', 422, "duplicate-key"),
        (b'{"samples": [{"expression": {"A": 1, "A": 2}}]}', 422, "duplicate-key"),
        (b'{"known": [', 400, "not-json"),
        (b"\xff\xfe{}", 422, "not-utf-8"),
        (b'{"known": ["\\ud800"]}', 422, "not-utf-8"),
        (b"[" * 100_000, 422, "too-deep"),
        (b'{"known": [' + b"1" * 10_000 + b"]}", 422, "not-a-number"),
        (b'{"known": ["S\\u0000"]}', 422, "invalid-request"),
        (b'{"known": ["S001"], "nonsense": 1}', 422, "invalid-request"),
        (b"{}", 422, "unusable-data"),
        (b'{"known": ["S001"], "drugs": ["D0x"]}', 422, "unknown-name"),
        (b'{"known": ["S001"], "predictor": "../../etc/passwd"}', 422, "unknown-name"),
    ],
)
def test_odd_json_is_a_problem(shared, body, status, code):
    problem(raw(shared, body), status, code)


def test_a_bom_is_no_fault(shared):
    assert raw(shared, b"\xef\xbb\xbf" + json.dumps({"known": ["S001"]}).encode()).status_code == 200


def test_large_bodies_are_refused_before_they_are_read(shared):
    problem(raw(shared, b"0" * 200_001), 413, "too-large")

    def chunks():  # without a length
        for _ in range(300):
            yield b"0" * 1000

    problem(raw(shared, chunks()), 413, "too-large")


def test_bombs_are_refused(shared):
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    problem(raw(shared, bomb, **{"Content-Encoding": "gzip"}), 413, "too-large")
    problem(raw(shared, bomb, "/rank/upload", **{"Content-Type": "text/csv"}), 413, "too-large")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 50_000_000)
        archive.writestr("../../evil", b"x")
    assert post(shared, "/rank/upload", files={"file": ("a.xlsx", packed.getvalue())}).status_code in (413, 422)
    problem(raw(shared, gzip.compress(b"{}")[:-9], **{"Content-Encoding": "gzip"}), 422, "damaged-gzip")
    problem(raw(shared, b"{}", **{"Content-Encoding": "br"}), 415, "unknown-encoding")


@pytest.mark.parametrize(
    "content",
    [
        b"gene,S1,S1\nG001,1,2\nG002,1,2\n",
        b"gene,S1\nG001,abc\nG002,1\n",
        b"gene,S1\nG001,1,2,3\n",
        b'gene,S1\n"G001,1\n',
        b"\x00\x01\x02",
        b"%PDF-1.4",
        b"gene,S1\nG001,1e400\nG002,2\n",
        b"",
        b"gene,S1\nTP53,1.5\nEGFR,2.5\n",
    ],
)
def test_odd_tables_are_problems_that_do_not_tell_paths(shared, content):
    answer = post(shared, "/rank/upload?unit=log2", files={"file": ("../../odd.csv", content)})
    assert answer.status_code == 422, answer.text
    assert "/tmp" not in answer.text
    assert ".." not in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/..%2f..%2fetc%2fpasswd",
        "/jobs/%252e%252e%252f",
        "/jobs/" + "a" * 4000,
        "/jobs/%00",
        "/jobs/" + "0" * 32,
        "/predictors/..%2f..%2fetc",
        "/predictors/%00",
        "/drugs/%2e%2e%2f",
        "/nothing",
    ],
)
def test_paths_lead_nowhere(shared, path):
    answer = get(shared, path)
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_structures_that_are_none_are_refused(shared):
    for smiles in ("", "C" * 100_000, "CCO junk", "C\nC", "С" + "O", "C1CC", "[" * 900):
        problem(post(shared, "/structures/check", {"smiles": smiles}), 422, "unusable-data")


def test_new_drugs_are_predicted_from_their_structure(shared):
    body = {"known": ["S001"], "new_drugs": [{"name": "aspirin", "smiles": "CC(=O)Oc1ccccc1C(=O)O"}]}
    answer = post(shared, "/predict", body)
    assert answer.status_code == 200, answer.text
    assert [r["drug_id"] for r in answer.json()["rows"]] == ["aspirin"]
    body["new_drugs"][0]["smiles"] = "nonsense"
    problem(post(shared, "/predict", body), 422, "unusable-data")


def test_openapi_has_examples_and_problems(shared):
    schema = get(shared, "/openapi.json").json()
    assert schema["components"]["schemas"]["PredictRequest"]["examples"]
    assert {"413", "422", "503"} <= set(schema["paths"]["/api/v1/predict"]["post"]["responses"])
    assert RESEARCH_USE in schema["info"]["description"]


def test_metrics_count_requests_and_tell_nothing_else(shared):
    post(shared, "/rank", {"known": ["S001"]})
    text = get(shared, "/metrics").text
    assert 'route="/api/v1/rank"' in text
    assert "S001" not in text
