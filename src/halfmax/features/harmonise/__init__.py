"""Harmonisation: a sample or a cohort put on the scale of the training samples."""
