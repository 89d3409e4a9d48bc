"""Tuning: search the models' own spaces on inner group folds, by studies that a kill cannot harm."""

from __future__ import annotations
