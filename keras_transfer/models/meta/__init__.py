"""Few-shot learning: a classifier from a handful of examples of each class."""

from keras_transfer.models.meta.matching_network import MatchingNetwork
from keras_transfer.models.meta.prototypical_network import PrototypicalNetwork, simple_shot

__all__ = ["MatchingNetwork", "PrototypicalNetwork", "simple_shot"]
