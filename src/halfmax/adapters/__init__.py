"""Adapters: models that run elsewhere, in a process or in an environment of their own, on the folds of everyone."""

from __future__ import annotations
