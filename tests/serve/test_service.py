"""The service says what the predictor says, whatever is remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from halfmax.errors import DataError, UnknownNameError
from halfmax.serve.encode import ServedPipeline
from tests.serve.conftest import DATASET, PROFILES


def test_answers_are_those_of_the_predictor(service, predictor):
    plain, _ = predictor.predict_samples({"expression": PROFILES})
    for _ in range(2):  # computed, then remembered
        answer = service.predict({"expression": PROFILES}).table
        common = [c for c in plain if c in answer]
        pd.testing.assert_frame_equal(answer[common], plain[common], check_exact=True)


def test_a_pipeline_that_remembers_drugs_encodes_the_same(predictor):
    served = ServedPipeline.of(predictor.features_, predictor.drugs_)
    left, right = predictor.features_.transform(DATASET), served.transform(DATASET)
    for name, block in left.drug_x.items():
        np.testing.assert_array_equal(block.values, right.drug_x[name].values)
    np.testing.assert_array_equal(left.sample_x["expression"].values, right.sample_x["expression"].values)
    np.testing.assert_array_equal(left.sample_index, right.sample_index)
    np.testing.assert_array_equal(left.drug_index, right.drug_index)
    assert left.drug_ids.tolist() == right.drug_ids.tolist()


def test_ranks_do_not_depend_on_which_drugs_are_asked_for(service):
    every = service.predict({"expression": PROFILES.iloc[:1]}).table.set_index("drug_id")["rank"]
    few = service.predict({"expression": PROFILES.iloc[:1]}, drugs=["D02", "D04"]).table.set_index("drug_id")["rank"]
    assert few.to_dict() == {d: every[d] for d in ("D02", "D04")}
    assert len(service.rank({"expression": PROFILES}, top=2).table) == 8


def test_many_threads_get_the_answers_of_one(service):
    tables = [PROFILES.iloc[[i % 4]] + np.float32(i) for i in range(12)]
    one = [service.predict({"expression": t}).table for t in tables]
    service._answers.clear()
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda t: service.predict({"expression": t}).table, tables))
    for left, right in zip(one, many, strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_a_training_sample_is_most_like_itself(service):
    omics, _ = service.known_samples(["S007", "S011"])
    table = service.similar(omics, n=3).table
    first = table[table["rank"] == 1]
    assert first["similar_id"].tolist() == ["S007", "S011"]
    assert first["similarity"].to_numpy() == pytest.approx([1, 1], abs=1e-5)
    assert table["similarity"].le(1 + 1e-6).all()


def test_what_is_not_known_is_refused(service):
    with pytest.raises(UnknownNameError, match="S07x"):
        service.known_samples(["S07x"])
    with pytest.raises(UnknownNameError, match="methylation"):
        service.genes("methylation")
    with pytest.raises(DataError, match="needs expression"):
        service.similar({})


def test_card_and_statistics_say_what_was_learned_from(service):
    assert service.card()["n_drugs"] == 6
    assert service.card()["research_use"].startswith("For Research Use Only.")
    assert service.statistics()["n_samples"] == 60
    assert service.drugs()["n_samples"].sum() == DATASET.response["value"].notna().sum()
