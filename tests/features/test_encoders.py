"""Pretrained encoders: what is safe is loaded, what is not refused with the reason, and vectors are kept by hash."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from halfmax.data.synthetic import make_dataset
from halfmax.errors import DataError, DownloadError
from halfmax.features.encoders import EncoderError, control, load_encoder
from halfmax.features.pipeline import FeaturePipeline

TEXTS = ["mek inhibitor; targets mek.", "egfr inhibitor.", "", "mek inhibitor; targets mek.", "agonist of signalling."]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HALFMAX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers")
    from tests.features.tiny_encoders import save_tiny_bert

    return save_tiny_bert(tmp_path_factory.mktemp("encoders") / "tiny")


def test_vectors_are_the_mean_over_a_texts_own_tokens(folder):
    import torch
    from transformers import AutoModel

    encoder = load_encoder(str(folder))
    together = encoder.embed(TEXTS, keep=False)
    assert together.shape == (5, 16)
    assert np.isnan(together[2]).all()
    assert np.array_equal(together[0], together[3])
    network = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        alone = network(**encoder.tokens([TEXTS[1]])).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(together[1], alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_what_was_computed_is_kept_and_taken_again(folder, monkeypatch, tmp_path):
    encoder = load_encoder(str(folder))
    first = encoder.embed(TEXTS)
    files = sorted((tmp_path / "home").rglob("*.npy"))
    assert len(files) == 3
    with monkeypatch.context() as patch:
        patch.setattr(type(encoder), "_compute", lambda *_: pytest.fail("computed again"))
        assert np.array_equal(encoder.embed(TEXTS), first, equal_nan=True)
    files[0].write_bytes(b"damaged")
    np.testing.assert_allclose(encoder.embed(TEXTS), first, atol=1e-5)


def test_other_weights_have_another_hash_and_share_nothing(folder, tmp_path):
    from tests.features.tiny_encoders import save_tiny_bert

    one, other = load_encoder(str(folder)), load_encoder(str(save_tiny_bert(tmp_path / "other", seed=1)))
    assert one.sha256 != other.sha256
    assert np.abs(one.embed(TEXTS)[0] - other.embed(TEXTS)[0]).max() > 0.01


def test_long_texts_are_cut_to_what_the_encoder_reads(folder):
    encoder = load_encoder(str(folder))
    assert encoder.max_tokens == 64
    assert np.isfinite(encoder.embed(["mek " * 500], keep=False)).all()


def test_unsafe_and_broken_folders_are_refused_with_the_reason(folder, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        load_encoder(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"config\.json"):
        load_encoder(str(tmp_path / "empty"))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((folder / "config.json").read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match="is a pickle"):
        load_encoder(str(pickled))
    coded = tmp_path / "coded"
    coded.mkdir()
    for path in folder.iterdir():
        (coded / path.name).write_bytes(path.read_bytes())
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(DataError, match="code of its own"):
        load_encoder(str(coded))
    (coded / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(DataError, match="would be random"):
        load_encoder(str(coded))


def test_nothing_is_fetched_unasked_and_no_network_is_told():
    pytest.importorskip("transformers")
    with pytest.raises(DownloadError, match="nothing is fetched unasked"):
        load_encoder("nobody/nothing")
    with pytest.raises(DownloadError, match="no network"):
        load_encoder("nobody/nothing", download=True)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EncoderError, match=r"halfmax\[pretrained\]"):
        load_encoder("nobody/nothing")


def test_a_drug_block_is_an_encoder_by_its_path_and_knows_its_weights(folder, tmp_path):
    from tests.features.tiny_encoders import ATOMS, save_tiny_bert

    dataset = make_dataset(8, 6, 10, seed=0)
    chemical = save_tiny_bert(tmp_path / "chemical", entries=ATOMS, pattern=r"Cl|Br|[A-Za-z]|[^A-Za-z]")
    pipeline = FeaturePipeline(drug_blocks=(f"text:{folder}", f"smiles:{chemical}")).fit(dataset)
    x = pipeline.transform(dataset)
    block = x.drug_x[f"smiles:{chemical}"]
    assert block.values.shape == (6, 16)
    assert np.isfinite(block.values).all()
    again = FeaturePipeline.from_state(pipeline.get_state()).transform(dataset)
    assert np.array_equal(again.drug_x[f"smiles:{chemical}"].values, block.values)
    save_tiny_bert(chemical, entries=ATOMS, pattern=r"Cl|Br|[A-Za-z]|[^A-Za-z]", seed=1)
    with pytest.raises(DataError, match="not the one of training"):
        pipeline.transform(dataset)


def test_controls_keep_the_vectors_and_lose_the_meaning():
    vectors = np.random.default_rng(0).normal(3, 2, (200, 4)).astype(np.float32)
    vectors[7] = np.nan
    shuffled, random = control(vectors, "shuffled"), control(vectors, "random")
    for made in (shuffled, random):
        assert np.isnan(made[7]).all()
        assert np.isnan(made).sum() == 4
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(vectors, axis=0), equal_nan=True)
    assert (shuffled != vectors).any(axis=1).mean() > 0.9
    assert np.nanmean(random) == pytest.approx(3, abs=0.3)
    with pytest.raises(DataError, match="shuffled or random"):
        control(vectors, "other")
