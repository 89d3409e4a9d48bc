"""Pretrained encoders from a folder or a hub's cache: texts to mean-pooled vectors, each computed once and kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from halfmax.data.cache import cache_dir
from halfmax.data.storage import atomic_file, sha256_of
from halfmax.errors import DataError, DownloadError, HalfmaxError
from halfmax.features.blocks import FloatArray

log = logging.getLogger(__name__)
#: Texts encoded at a time.
_BATCH = 32
#: Tokens of a text that are read, where the encoder reads so many.
MAX_TOKENS = 512
#: What is fetched of a repository: no pickled weights and no code.
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
_INSTALL = "pretrained encoders need the package transformers: pip install 'halfmax[pretrained]'."


class EncoderError(HalfmaxError, ImportError):
    """The library that pretrained encoders are read with is not installed."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and a network in evaluation mode, frozen.

    Parameters
    ----------
    name
        As it was asked for.
    sha256
        Of everything that decides a vector: weights, configuration and tokenizer.
    width
        Length of a vector.
    max_tokens
        Tokens that are read of a text; the rest is cut off.
    """

    name: str
    sha256: str
    width: int
    max_tokens: int
    tokenizer: Any
    network: Any

    def tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return token numbers and the attention mask, tensors of shape (n_texts, n_tokens)."""
        found = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    def pooled(self, tokens: dict[str, Any]) -> Any:
        """Return the mean of the last layer over a text's tokens, a tensor of shape (n_texts, width)."""
        hidden = self.network(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)

    def embed(self, texts: Sequence[str], *, keep: bool = True) -> FloatArray:
        """Return a vector a text, shape ``(n_texts, width)``; NaN for an empty text.

        Parameters
        ----------
        keep
            Whether to keep vectors in the cache folder, each under the hash of the encoder and its text, and to take
            those that are there.
        """
        out = np.full((len(texts), self.width), np.nan, dtype=np.float32)
        distinct = sorted({text for text in texts if text}, key=lambda text: (len(text), text))
        vectors = {text: vector for text in distinct if keep and (vector := self._kept(text)) is not None}
        new = [text for text in distinct if text not in vectors]
        for part in (new[start : start + _BATCH] for start in range(0, len(new), _BATCH)):
            for text, vector in zip(part, self._compute(part), strict=True):
                vectors[text] = vector
                if keep:
                    with atomic_file(self._place(text)) as temporary, temporary.open("wb") as handle:
                        np.save(handle, vector, allow_pickle=False)
        for row, text in enumerate(texts):
            if text:
                out[row] = vectors[text]
        return out

    def _compute(self, texts: Sequence[str]) -> FloatArray:
        import torch

        with torch.no_grad():
            found: FloatArray = self.pooled(self.tokens(texts)).float().numpy()
        if not np.isfinite(found).all():
            raise DataError(f"the encoder {self.name} gives NaN or infinity; its weights are damaged.")
        return found

    def _place(self, text: str) -> Path:
        name = hashlib.sha256(text.encode()).hexdigest()
        return cache_dir() / "embeddings" / self.sha256[:16] / name[:2] / f"{name}.npy"

    def _kept(self, text: str) -> FloatArray | None:
        try:
            vector = np.load(self._place(text), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        usable = vector.shape == (self.width,) and vector.dtype == np.float32 and np.isfinite(vector).all()
        return vector if usable else None


def load_encoder(name: str, *, download: bool = False) -> Encoder:
    """Return the encoder of a folder, or of a hub's repository that lies in the hub's cache.

    Only safetensors are read, and no code that a repository brings is run.

    Parameters
    ----------
    name
        A folder with ``config.json``, a tokenizer and safetensors, or a repository's name such as
        ``dmis-lab/biobert-v1.1``.
    download
        Whether a repository that is not in the cache may be fetched.

    Raises
    ------
    EncoderError
        If transformers is not installed.
    DataError
        If the folder is no encoder, has pickled weights only, needs code of its own or lacks weights.
    DownloadError
        If the repository is not in the cache and may not, or cannot, be fetched.
    """
    folder = _folder(name, download=download)
    return _load(name, folder, _fingerprint(folder))


def _folder(name: str, *, download: bool) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.count("/") != 1 or name.startswith((".", "~")):
        raise DataError(f"there is no folder {name!r}, and it is not the name of a repository (owner/name).")
    hub = _library("huggingface_hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=not download))
    except Exception as error:
        if download:
            raise DownloadError(
                f"the encoder {name} could not be fetched ({type(error).__name__}: {str(error).splitlines()[0]}). "
                "Where there is no network, copy its folder from elsewhere and give its path."
            ) from None
        raise DownloadError(
            f"the encoder {name} is not in the hub's cache, and nothing is fetched unasked. Fetch it with "
            f"`hf download {name}` or load_encoder({name!r}, download=True), or give the path of a folder."
        ) from None


def _fingerprint(folder: Path) -> str:
    """Return the hash of the files that decide a vector, after checking that they are safe to read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no readable config.json ({error}); it is not an encoder's folder.") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise DataError(f"{folder / 'config.json'} names no model_type; it is not an encoder's folder.")
    if "auto_map" in config:
        raise DataError(
            f"the encoder in {folder} needs code of its own (auto_map in config.json), which is never run. Take a "
            "version of an architecture that transformers has."
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        found = f"only {pickled[0]}, which is a pickle" if pickled else "none"
        raise DataError(
            f"{folder} has no weights as safetensors ({found}). Save them anew with "
            "save_pretrained(folder, safe_serialization=True) on a machine where you trust the file."
        )
    decides = {*weights, *folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model")}
    stamp = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(decides))
    return _hash(folder, stamp)


@lru_cache(maxsize=32)
def _hash(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in stamp:
        digest.update(f"{name}\0{sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _load(name: str, folder: Path, sha256: str) -> Encoder:
    library = _library("transformers")
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(str(folder), **safe)
        network, told = library.AutoModel.from_pretrained(
            str(folder), use_safetensors=True, output_loading_info=True, **safe
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} cannot be read as an encoder: {str(error).splitlines()[0]}") from None
    missing = [key for key in told["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise DataError(
            f"{len(missing)} weights of the encoder are not in {folder}, e.g. {sorted(missing)[:3]}; they would be "
            "random. Save the model whole."
        )
    if getattr(network.config, "is_encoder_decoder", False):
        network = network.get_encoder()
    network.eval().requires_grad_(False)
    tokenizer.padding_side = "right"
    longest = min(MAX_TOKENS, tokenizer.model_max_length, _positions(network.config))
    log.info("encoder %s: %s, vectors of %d", name, network.config.model_type, network.config.hidden_size)
    return Encoder(name, sha256, int(network.config.hidden_size), int(longest), tokenizer, network)


def _positions(config: Any) -> int:
    most = getattr(config, "max_position_embeddings", MAX_TOKENS) or MAX_TOKENS
    # RoBERTa's positions begin after the padding token's number
    return int(most) - 2 if "roberta" in config.model_type else int(most)


def control(vectors: FloatArray, kind: str, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return what vectors must beat to mean something, with empty rows left empty.

    Parameters
    ----------
    kind
        ``shuffled``: each row gets another's vector. ``random``: normal vectors of the same mean and spread.
    """
    rng, known = np.random.default_rng(seed), np.isfinite(vectors).all(axis=1)
    out = vectors.copy()
    if kind == "shuffled":
        out[known] = rng.permutation(vectors[known])
    elif kind == "random":
        some = vectors[known]
        drawn = rng.standard_normal(some.shape) * some.std(axis=0) + some.mean(axis=0)
        out[known] = drawn.astype(np.float32)
    else:
        raise DataError(f"a control is shuffled or random, not {kind!r}.")
    return out


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise EncoderError(_INSTALL) from None
