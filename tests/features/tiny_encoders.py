"""A BERT of a few thousand random weights with a tokenizer of its own, saved as real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WORDS = ("inhibitor", "targets", "acts", "on", "mek", "egfr", "signalling", "agonist", "of", ";", ",", ".")
ATOMS = ("C", "c", "N", "n", "O", "o", "F", "S", "s", "Cl", "(", ")", "=", "#", "1", "2", "3")
BASES = tuple("ACGTN")


def save_tiny_bert(
    folder: Path, *, entries: Sequence[str] = WORDS, pattern: str = "", seed: int = 0, width: int = 16
) -> Path:
    """Write a tiny encoder; `pattern` cuts text where there are no blanks."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    numbers = {entry: i for i, entry in enumerate([*special, *entries])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Split(Regex(pattern), "isolated") if pattern else pre_tokenizers.BertPreTokenizer()
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertModel(
            BertConfig(
                vocab_size=len(numbers),
                hidden_size=width,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=2 * width,
                max_position_embeddings=64,
                initializer_range=0.3,
            )
        )
    network.save_pretrained(folder)
    marks = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **marks).save_pretrained(folder)
    return folder
