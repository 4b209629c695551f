"""Fine-tuning: a pretrained network, few labels."""

from keras_transfer.models.finetuning.distillation import Distillation
from keras_transfer.models.finetuning.l2sp import L2SP

__all__ = ["L2SP", "Distillation"]
