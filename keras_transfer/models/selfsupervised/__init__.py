"""Self-supervised learning: encoders from unlabelled images, by agreeing views or by predicting what is hidden."""

from keras_transfer.models.selfsupervised.barlow_twins import BarlowTwins
from keras_transfer.models.selfsupervised.byol import BYOL
from keras_transfer.models.selfsupervised.inpainting import Inpainting
from keras_transfer.models.selfsupervised.mae import MAE
from keras_transfer.models.selfsupervised.simclr import SimCLR
from keras_transfer.models.selfsupervised.simsiam import SimSiam
from keras_transfer.models.selfsupervised.sup_con import SupCon
from keras_transfer.models.selfsupervised.vicreg import VICReg

__all__ = ["BYOL", "MAE", "BarlowTwins", "Inpainting", "SimCLR", "SimSiam", "SupCon", "VICReg"]
