"""Continual learning: tasks that come one after another."""

from keras_transfer.models.continual.agem import AGEM
from keras_transfer.models.continual.derpp import DERpp
from keras_transfer.models.continual.ewc import EWC
from keras_transfer.models.continual.experience_replay import ExperienceReplay
from keras_transfer.models.continual.gdumb import GDumb
from keras_transfer.models.continual.icarl import ICaRL
from keras_transfer.models.continual.lwf import LwF
from keras_transfer.models.continual.mas import MAS
from keras_transfer.models.continual.synaptic_intelligence import SynapticIntelligence

__all__ = ["AGEM", "DERpp", "EWC", "ExperienceReplay", "GDumb", "ICaRL", "LwF", "MAS", "SynapticIntelligence"]
