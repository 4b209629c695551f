"""Transfer learning beyond fine-tuning, as ordinary Keras models.

Every method is a `keras.Model`: `compile`, `fit`, `evaluate`, `predict` and `save` are Keras's own, and `kt.export`
writes a SavedModel for TF Serving that holds what is served and nothing else.

Where to begin, by what you have:

- Labels in one domain, none in the one that counts: `kt.models.DANN`, `DeepCORAL`, `DAN` on `kt.streams.domains`.
- A pretrained backbone and few labels: `kt.backbones.from_applications`, `from_hub`, `from_keras_hub`; then
  `kt.backbones.cached_features` and a linear head, `kt.finetuning` (what trains, LoRA, rates, weights halfway back),
  `kt.models.L2SP`, `kt.models.Distillation`.
- Classes never seen, a handful of examples of each: `kt.models.PrototypicalNetwork`, `MatchingNetwork`, `simple_shot`,
  `MAML`, `ANIL`, `Reptile` on `kt.streams.episodes`.
- Many images, few of them labelled: `kt.models.SimCLR`, `BYOL`, `SimSiam`, `BarlowTwins`, `VICReg` on
  `kt.streams.views`, `MAE`, `Inpainting`, with labels `SupCon`; `kt.callbacks.KNNProbe`, `LinearProbe` and
  `CollapseMonitor` watch them.
- Several questions about the same input: `kt.models.SharedEncoder`, `SoftSharing`, `CrossStitch`, `MixtureOfExperts`,
  `ProgressiveExtraction`, balanced by `kt.weightings`.

A first run:

    import keras
    import keras_transfer as kt

    stream = kt.streams.domains((x_source, y_source), x_target)
    model = kt.models.DAN(encoder, head, mmd_weight=kt.schedules.DannRamp(steps=2000))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(stream, epochs=10, shuffle=False)
    kt.export(model, "saved_models/digits", x_target, classes="0123456789")

Methods of your own are subclasses of `kt.TransferModel`; `help(kt.TransferModel)` has an example, and
`kt.testing.check_model` tests that they keep the contract. Each room, such as `kt.losses`, has a page of its own:
`help(kt.losses)`. The command `keras-transfer` runs recipes, from data to export: `keras-transfer --help`.
"""

from keras_transfer import (
    backbones,
    callbacks,
    datasets,
    finetuning,
    gradients,
    layers,
    losses,
    metrics,
    models,
    networks,
    optimizers,
    report,
    schedules,
    serving,
    signatures,
    streams,
    testing,
    weightings,
    zoo,
)
from keras_transfer.model import TransferModel
from keras_transfer.serving import export

__version__ = "0.1.0"

__all__ = [
    "TransferModel",
    "backbones",
    "callbacks",
    "datasets",
    "export",
    "finetuning",
    "gradients",
    "layers",
    "losses",
    "metrics",
    "models",
    "networks",
    "optimizers",
    "report",
    "schedules",
    "serving",
    "signatures",
    "streams",
    "testing",
    "weightings",
    "zoo",
]


def __dir__():
    return [*__all__, "__doc__", "__file__", "__name__", "__version__"]
