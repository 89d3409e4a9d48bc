"""Card: what a predictor is, learned from, good at and not for, written by the software as Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halfmax.panel import New
from halfmax.uncertainty.answers import LEVEL
from halfmax.uncertainty.domain import EDGE, OUTSIDE

if TYPE_CHECKING:
    from halfmax.predictor import Predictor

#: Files of a predictor folder that hold the card.
FILES = ("card.md", "card.json")
_USE = (
    "Ranking drugs for a sample by predicted in-vitro response relative to each drug's own mean, as a hypothesis for "
    "an experiment; comparing models on the same folds."
)
_LIMITS = (
    "It was fitted on cell lines in culture: it predicts their response, and no patient's. Nothing here chooses a "
    "treatment.",
    "Most of the variance lies between drugs. Read within-drug figures, and each drug's own skill, before a rank.",
    "Intervals hold for samples that are drawn as the training samples were, averaged over them; for tumours, and for "
    "samples at the edge or outside of the domain, no measured value tells how often they hold.",
    "A sample of another platform is put on the training scale first (harmonise); the domain column says whether that "
    "was enough.",
)


def make_card(predictor: Predictor) -> dict[str, Any]:
    """Return a fitted predictor's card as plain JSON: what `card_text` prints.

    What was never measured is absent: a predictor that was fitted without a cross-validation has no scores.
    """
    from halfmax import RESEARCH_USE, __version__

    about, domain = predictor.about_, predictor.domain_
    data = about.get("data", {})
    notes = data.get("notes", {})
    return {
        "research_use": RESEARCH_USE,
        "model": {
            "name": predictor.model_name,
            "halfmax_version": __version__,
            "params": predictor.model.get_params(),
        },
        "answers": f"predicted {predictor.measure_.label}, ranked by the difference to each drug's mean",
        "intended_use": _USE,
        "limits": list(_LIMITS),
        "data": {
            "name": data.get("name", ""),
            "fingerprint": data.get("fingerprint", ""),
            "source": notes.get("source", ""),
            "licence": notes.get("licence", "not stated"),
            "n_samples": about.get("n_samples"),
            "n_drugs": len(predictor.drugs_),
            "n_pairs": about.get("n_pairs"),
            "modalities": list(predictor.features_.modalities),
        },
        "split": about.get("split", {}),
        "scores": about.get("metrics", {}),
        "ladder": about.get("ladder", {}),
        "skill_by_drug": about.get("skill", {}),
        "skill_by_tissue": about.get("tissue_skill", {}),
        "intervals": {new: _told(predictor, new) for new in sorted(predictor.intervals_)},
        "domain": None
        if domain is None
        else {
            "n_samples": len(domain.sample_ids_),
            "edge": EDGE,
            "outside": OUTSIDE,
            "n_tissues": len(domain.tissues_),
        },
    }


def card_text(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    data, split, model = card["data"], card["split"], card["model"]
    lines = [
        f"# Model card: {model['name']}",
        f"**{card['research_use']}**",
        f"Answers: {card['answers']}. Written by halfmax {model['halfmax_version']}.",
        "## Intended use",
        card["intended_use"],
        "## Limits",
        "\n".join(f"- {limit}" for limit in card["limits"]),
        "## Data",
        f"{data['name'] or 'unnamed'}: {data['n_samples']} samples, {data['n_drugs']} drugs, {data['n_pairs']} pairs; "
        f"{', '.join(data['modalities'])}.",
        f"Source: {data['source'] or 'not stated'}. Licence: {data['licence']}.",
        "## How it was tested",
        f"{split['protocol']}, {split['n_folds']} folds." if split else "It was not cross-validated.",
    ]
    if card["scores"]:
        lines.append(_table(("metric", "mean over folds"), list(card["scores"].items())))
    if ladder := card["ladder"]:
        metrics = sorted({m for scores in ladder.values() for m in scores})
        rows = [(name, *(scores.get(m) for m in metrics)) for name, scores in ladder.items()]
        lines += ["### Beside the other models, on the same folds", _table(("model", *metrics), rows)]
    lines.append("## Intervals")
    told = [f"- {text['words']}" for text in card["intervals"].values()]
    lines.append("\n".join(told) or "It has none: no cross-validation told how far its predictions are from the truth.")
    lines.append("## Domain")
    lines.append(_domain_words(card["domain"]))
    for key, what in (("skill_by_tissue", "tissue"), ("skill_by_drug", "drug")):
        if card[key]:
            head = f"## Skill by {what}" + ("" if what == "drug" else " (within-drug)")
            rows = sorted(card[key].items(), key=lambda item: -item[1])
            lines += [head, _table((what, "Pearson of left-out pairs"), rows)]
    return "\n\n".join(lines) + "\n"


def _told(predictor: Predictor, new: New) -> dict[str, Any]:
    found = predictor.intervals_[new]
    checked: dict[str, Any] = predictor.about_.get("intervals", {}).get(new, {})
    words = (
        f"For a new {new}: from the errors on {found.n_groups} {new}s that a cross-validation left out; "
        f"{LEVEL:.0%} unless another level is asked for."
    )
    if checked:
        words += (
            f" Learned on all folds but one and tried on that one, they held {checked['coverage']:.1%} of the values; "
            f"{checked['drugs_at_least_85']:.0%} of the drugs had 85 % or more."
        )
    about: dict[str, Any] = {"n": found.n_groups, "level": LEVEL, "words": words}
    return {**about, **checked}


def _domain_words(domain: Mapping[str, Any] | None) -> str:
    if domain is None:
        return "It has none: nothing says how far a sample lies from those of training."
    return (
        f"A sample is compared with {domain['n_samples']} training samples. At the edge: farther than "
        f"{domain['edge']:g} % of them; outside: farther than {domain['outside']:g} %, and then its answers are "
        "withheld unless the caller allows them."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")
