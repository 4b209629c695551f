"""Losses: functions, and classes where users compile with them."""

from keras_transfer.losses.barlow_twins import barlow_twins
from keras_transfer.losses.bnm import negative_nuclear_norm
from keras_transfer.losses.compatibility import ALE, SJE, DeViSE, ale, devise, sje
from keras_transfer.losses.contrastive import nt_xent, sup_con
from keras_transfer.losses.coral import CORAL, coral
from keras_transfer.losses.distillation import DistillationLoss, distillation
from keras_transfer.losses.information import negative_information, prediction_entropy
from keras_transfer.losses.mcc import MCC, mcc
from keras_transfer.losses.mmd import MMD, joint_mmd, mmd
from keras_transfer.losses.negative_cosine import negative_cosine
from keras_transfer.losses.pairs import info_nce, sig_lip
from keras_transfer.losses.transport import transport_plan
from keras_transfer.losses.vicreg import vicreg
from keras_transfer.losses.weight_sharing import trace_norm, weight_spread
from keras_transfer.losses.within_task import TaskCrossentropy

__all__ = [
    "ALE",
    "CORAL",
    "MCC",
    "MMD",
    "SJE",
    "DeViSE",
    "DistillationLoss",
    "TaskCrossentropy",
    "ale",
    "barlow_twins",
    "coral",
    "devise",
    "distillation",
    "info_nce",
    "joint_mmd",
    "mcc",
    "mmd",
    "negative_cosine",
    "negative_information",
    "negative_nuclear_norm",
    "nt_xent",
    "prediction_entropy",
    "sig_lip",
    "sje",
    "sup_con",
    "trace_norm",
    "transport_plan",
    "vicreg",
    "weight_spread",
]
