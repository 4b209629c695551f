"""Semi-supervised: few labels, and many more rows without any."""

from keras_transfer.models.semisupervised.fixmatch import FixMatch
from keras_transfer.models.semisupervised.mean_teacher import MeanTeacher
from keras_transfer.models.semisupervised.mixmatch import MixMatch
from keras_transfer.models.semisupervised.noisy_student import noisy_student
from keras_transfer.models.semisupervised.pi_model import PiModel
from keras_transfer.models.semisupervised.pseudo_label import PseudoLabel

__all__ = ["FixMatch", "MeanTeacher", "MixMatch", "PiModel", "PseudoLabel", "noisy_student"]
