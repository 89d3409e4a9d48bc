"""Explanations: what each gene, modality and pathway adds to a predicted response, against the drug's own mean."""

from __future__ import annotations

from halfmax.explain.explainer import Explainer as Explainer
from halfmax.explain.explanation import Explanation as Explanation
