"""Few-shot learning: a model of a new task from a handful of examples."""

from keras_transfer.models.meta.anil import ANIL
from keras_transfer.models.meta.maml import MAML
from keras_transfer.models.meta.matching_network import MatchingNetwork
from keras_transfer.models.meta.prototypical_network import PrototypicalNetwork, simple_shot
from keras_transfer.models.meta.reptile import Reptile

__all__ = ["ANIL", "MAML", "MatchingNetwork", "PrototypicalNetwork", "Reptile", "simple_shot"]
