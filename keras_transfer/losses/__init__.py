"""Losses: functions, and classes where users compile with them."""

from keras_transfer.losses.coral import CORAL, coral
from keras_transfer.losses.distillation import DistillationLoss, distillation
from keras_transfer.losses.mmd import MMD, mmd

__all__ = ["CORAL", "MMD", "DistillationLoss", "coral", "distillation", "mmd"]
