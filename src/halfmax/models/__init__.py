"""Models: arrays in, predictions out. Look one up by name in ``MODELS``."""

from halfmax.models.base import MODELS, BaseModel, Model, Prediction, State

__all__ = ["MODELS", "BaseModel", "Model", "Prediction", "State"]
