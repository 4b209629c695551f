"""Zero-shot: classes that are told by what describes them, those never seen among them."""

from keras_transfer.models.zeroshot.bilinear_compatibility import BilinearCompatibility
from keras_transfer.models.zeroshot.dual_encoder import DualEncoder
from keras_transfer.models.zeroshot.eszsl import ESZSL
from keras_transfer.models.zeroshot.label_descriptions import LabelDescriptions
from keras_transfer.models.zeroshot.sae import SAE

__all__ = ["ESZSL", "SAE", "BilinearCompatibility", "DualEncoder", "LabelDescriptions"]
