"""Uncertainty: how far a prediction may be from the truth, and whether a sample is one that the model can judge."""
