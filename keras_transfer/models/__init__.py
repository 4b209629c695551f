"""The methods."""

from keras_transfer.models.adaptation.dan import DAN
from keras_transfer.models.adaptation.dann import DANN
from keras_transfer.models.adaptation.deep_coral import DeepCORAL
from keras_transfer.models.finetuning.distillation import Distillation
from keras_transfer.models.finetuning.l2sp import L2SP
from keras_transfer.models.meta.anil import ANIL
from keras_transfer.models.meta.maml import MAML
from keras_transfer.models.meta.matching_network import MatchingNetwork
from keras_transfer.models.meta.prototypical_network import PrototypicalNetwork, simple_shot
from keras_transfer.models.meta.reptile import Reptile

__all__ = [
    "ANIL",
    "DAN",
    "DANN",
    "DeepCORAL",
    "Distillation",
    "L2SP",
    "MAML",
    "MatchingNetwork",
    "PrototypicalNetwork",
    "Reptile",
    "simple_shot",
]
