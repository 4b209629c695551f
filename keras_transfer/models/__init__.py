"""The methods."""

from keras_transfer.models.adaptation.adabn import adabn
from keras_transfer.models.adaptation.adabn_by_request import adabn_by_request
from keras_transfer.models.adaptation.adamatch import AdaMatch
from keras_transfer.models.adaptation.adda import ADDA
from keras_transfer.models.adaptation.align_covariances import align_covariances
from keras_transfer.models.adaptation.cdan import CDAN
from keras_transfer.models.adaptation.dan import DAN
from keras_transfer.models.adaptation.dann import DANN
from keras_transfer.models.adaptation.deep_coral import DeepCORAL
from keras_transfer.models.adaptation.deep_jdot import DeepJDOT
from keras_transfer.models.adaptation.jan import JAN
from keras_transfer.models.adaptation.mcd import MCD
from keras_transfer.models.adaptation.mdd import MDD
from keras_transfer.models.adaptation.self_ensembling import SelfEnsembling
from keras_transfer.models.adaptation.shot import SHOT
from keras_transfer.models.adaptation.target_terms import TargetTerms
from keras_transfer.models.adaptation.tent import tent
from keras_transfer.models.adaptation.wdgrl import WDGRL
from keras_transfer.models.continual.agem import AGEM
from keras_transfer.models.continual.derpp import DERpp
from keras_transfer.models.continual.ewc import EWC
from keras_transfer.models.continual.experience_replay import ExperienceReplay
from keras_transfer.models.continual.gdumb import GDumb
from keras_transfer.models.continual.icarl import ICaRL
from keras_transfer.models.continual.lwf import LwF
from keras_transfer.models.continual.mas import MAS
from keras_transfer.models.continual.synaptic_intelligence import SynapticIntelligence
from keras_transfer.models.finetuning.distillation import Distillation
from keras_transfer.models.finetuning.l2sp import L2SP
from keras_transfer.models.meta.anil import ANIL
from keras_transfer.models.meta.maml import MAML
from keras_transfer.models.meta.matching_network import MatchingNetwork
from keras_transfer.models.meta.prototypical_network import PrototypicalNetwork, simple_shot
from keras_transfer.models.meta.reptile import Reptile
from keras_transfer.models.multitask.cross_stitch import CrossStitch
from keras_transfer.models.multitask.mixture_of_experts import MixtureOfExperts
from keras_transfer.models.multitask.progressive_extraction import ProgressiveExtraction
from keras_transfer.models.multitask.shared_encoder import SharedEncoder
from keras_transfer.models.multitask.soft_sharing import SoftSharing
from keras_transfer.models.selfsupervised.barlow_twins import BarlowTwins
from keras_transfer.models.selfsupervised.byol import BYOL
from keras_transfer.models.selfsupervised.inpainting import Inpainting
from keras_transfer.models.selfsupervised.mae import MAE
from keras_transfer.models.selfsupervised.simclr import SimCLR
from keras_transfer.models.selfsupervised.simsiam import SimSiam
from keras_transfer.models.selfsupervised.sup_con import SupCon
from keras_transfer.models.selfsupervised.vicreg import VICReg
from keras_transfer.models.semisupervised.fixmatch import FixMatch
from keras_transfer.models.semisupervised.mean_teacher import MeanTeacher
from keras_transfer.models.semisupervised.mixmatch import MixMatch
from keras_transfer.models.semisupervised.noisy_student import noisy_student
from keras_transfer.models.semisupervised.pi_model import PiModel
from keras_transfer.models.semisupervised.pseudo_label import PseudoLabel
from keras_transfer.models.text.denoising_text import DenoisingText
from keras_transfer.models.text.masked_language_model import MaskedLanguageModel
from keras_transfer.models.text.setfit import SetFit
from keras_transfer.models.text.simcse import SimCSE
from keras_transfer.models.zeroshot.bilinear_compatibility import BilinearCompatibility
from keras_transfer.models.zeroshot.dual_encoder import DualEncoder
from keras_transfer.models.zeroshot.eszsl import ESZSL
from keras_transfer.models.zeroshot.label_descriptions import LabelDescriptions
from keras_transfer.models.zeroshot.sae import SAE

__all__ = [
    "FixMatch",
    "MeanTeacher",
    "MixMatch",
    "PiModel",
    "PseudoLabel",
    "noisy_student",
    "BilinearCompatibility",
    "DualEncoder",
    "ESZSL",
    "SAE",
    "ADDA",
    "AGEM",
    "ANIL",
    "BYOL",
    "CDAN",
    "DAN",
    "DANN",
    "EWC",
    "JAN",
    "L2SP",
    "MAE",
    "MAML",
    "MAS",
    "MCD",
    "MDD",
    "SHOT",
    "WDGRL",
    "AdaMatch",
    "BarlowTwins",
    "CrossStitch",
    "DeepCORAL",
    "DERpp",
    "DeepJDOT",
    "DenoisingText",
    "Distillation",
    "ExperienceReplay",
    "GDumb",
    "ICaRL",
    "Inpainting",
    "LabelDescriptions",
    "LwF",
    "MaskedLanguageModel",
    "MatchingNetwork",
    "MixtureOfExperts",
    "ProgressiveExtraction",
    "PrototypicalNetwork",
    "Reptile",
    "SelfEnsembling",
    "SetFit",
    "SharedEncoder",
    "SimCLR",
    "SimCSE",
    "SimSiam",
    "SoftSharing",
    "SupCon",
    "SynapticIntelligence",
    "TargetTerms",
    "VICReg",
    "adabn",
    "adabn_by_request",
    "align_covariances",
    "simple_shot",
    "tent",
]
