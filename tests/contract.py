"""One row for each public method: how to make it small, and what it trains on."""

from typing import Any, NamedTuple

import keras
import numpy as np

import keras_transfer as kt

FEATURES, DIM, CLASSES = 8, 16, 3


class Row(NamedTuple):
    make: Any  # () -> a compiled model with new networks
    batch: tuple  # (x, y) of the training streams
    plain: tuple  # (x, y) of plain data
    draws: bool = False  # random numbers in the step, by which replicas differ from one
    attends: bool = False  # attention, which JAX has not in float16 on CPUs


def network(inputs, outputs, activation=None):
    """A small regularised network: regularisers have to count once in every method."""
    layer = keras.layers.Dense(outputs, activation=activation, kernel_regularizer=keras.regularizers.L2(0.01))
    return keras.Sequential([keras.Input((inputs,)), layer])


def encoder():
    return network(FEATURES, DIM, "tanh")


def head():
    return network(DIM, CLASSES)


def discriminator():
    return network(DIM, 1)


def compiled(model, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def domains(rows=16, target_rows=24, seed=0):
    """Batches of two domains of different size."""
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(rows, FEATURES)).astype("float32")
    target = rng.normal(1.0, 2.0, size=(target_rows, FEATURES)).astype("float32")
    labels = (np.abs(source[:, 0]) * 1.5).astype("int32").clip(0, CLASSES - 1)
    return ({"source": source, "target": target}, labels), (source, labels)


def labelled(seed=0):
    """A plain batch, which trains and evaluates."""
    plain = domains(seed=seed)[1]
    return plain, plain


def episode_batch(seed=0, shots=2, queries=3, episodes=4):
    """Episodes of `CLASSES` classes, the labels in any order."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(episodes, CLASSES, FEATURES))

    def draw(size):
        labels = np.stack([rng.permutation(np.repeat(np.arange(CLASSES), size)) for _ in range(episodes)])
        x = np.take_along_axis(centres, labels[..., None], 1) + rng.normal(size=(*labels.shape, FEATURES))
        return x.astype("float32"), labels.astype("int32")

    support, (query, answers) = draw(shots), draw(queries)
    return ({"support": support, "query": query}, answers), (query[0], None)


def tasks(seed=0, rows=16):
    """A plain batch of two tasks, the second with half of its labels missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, FEATURES)).astype("float32")
    labels = (np.abs(x[:, :2]) * 1.5).astype("int32").clip(0, CLASSES - 1)
    batch = x, {"whole": labels[:, 0], "half": np.where(rng.random(rows) < 0.5, labels[:, 1], -1)}
    return batch, batch


def heads():
    return {"whole": head(), "half": head()}


def of_tasks(model, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, weighted_metrics=[["accuracy"]] * 2)
    return model


def each(make):
    """A new network, or whatever is made, for each task."""
    return {task: make() for task in heads()}


def stages():
    return [encoder(), projector(), projector()]


def experts():
    return [projector(), projector()]


def views(rows=12, seed=0):
    """Two views of each row, the second a little off."""
    first = np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype("float32")
    second = first + 0.1 * np.random.default_rng(seed + 100).normal(size=first.shape).astype("float32")
    return ({"view_1": first, "view_2": second}, None), (first, None)


def labelled_views(seed=0):
    (x, _), (first, _) = views(seed=seed)
    return (x, (np.arange(len(first)) % CLASSES).astype("int32")), (first, None)


def images(seed=0):
    """A batch of small images."""
    x = np.random.default_rng(seed).integers(0, 256, (8, 8, 8, 1)).astype("uint8")
    return ({"image": x}, None), (x, None)


def projector():
    return network(DIM, DIM)


def deep_encoder():
    return keras.Sequential([encoder(), projector()])


def classifier():
    return keras.Sequential([encoder(), head()])


def unlabelled(model, optimizer=None):
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9))
    return model


def vit():
    """A small Vision Transformer and a decoder, which begins with regularised layers."""
    encoder = kt.backbones.small_vit((8, 8, 1), patch_size=2, dim=8, blocks=1, heads=2)
    regularised = [keras.layers.Dense(n, kernel_regularizer=keras.regularizers.L2(0.01)) for n in (32, 8)]
    decoder = kt.backbones.small_vit_decoder(encoder, dim=8, heads=2)
    return encoder, keras.Sequential([keras.Input((16, 8)), *regularised, decoder])


def image_networks():
    """An encoder of small images and a decoder back to them."""
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()])
    encoder.add(network(64, DIM, "tanh"))
    decoder = network(DIM, 64)
    decoder.add(keras.layers.Reshape((8, 8, 1)))
    return encoder, decoder


ARCHITECTURES = {
    "SharedEncoder": lambda **kw: kt.models.SharedEncoder(encoder(), heads(), **kw),
    "SoftSharing": lambda **kw: kt.models.SoftSharing(each(encoder), heads(), pull_weight=0.1, **kw),
    "CrossStitch": lambda **kw: kt.models.CrossStitch(each(stages), heads(), **kw),
    "MixtureOfExperts": lambda **kw: kt.models.MixtureOfExperts(encoder(), experts(), heads(), **kw),
    "ProgressiveExtraction": lambda **kw: kt.models.ProgressiveExtraction(
        encoder(), [experts(), experts()], each(lambda: [experts(), experts()]), heads(), **kw
    ),
}
METHODS = {
    "DANN": Row(
        lambda: compiled(kt.models.DANN(encoder(), head(), discriminator(), reversal=kt.schedules.DannRamp(20))),
        *domains(),
    ),
    "DeepCORAL": Row(lambda: compiled(kt.models.DeepCORAL(encoder(), head(), coral_weight=100.0)), *domains()),
    "DAN": Row(lambda: compiled(kt.models.DAN(encoder(), head())), *domains()),
    "L2SP": Row(lambda: compiled(kt.models.L2SP(encoder(), head())), *labelled()),
    "Distillation": Row(
        lambda: compiled(kt.models.Distillation(encoder(), head(), network(FEATURES, CLASSES))), *labelled()
    ),
    "PrototypicalNetwork": Row(lambda: compiled(kt.models.PrototypicalNetwork(deep_encoder())), *episode_batch()),
    "MatchingNetwork": Row(lambda: compiled(kt.models.MatchingNetwork(deep_encoder(), cosine=True)), *episode_batch()),
    "MAML": Row(lambda: compiled(kt.models.MAML(classifier(), steps=2, learn_rates=True)), *episode_batch()),
    "ANIL": Row(lambda: compiled(kt.models.ANIL(encoder(), head())), *episode_batch()),
    **{name: Row(lambda make=make: of_tasks(make(missing=-1)), *tasks()) for name, make in ARCHITECTURES.items()},
    "SimCLR": Row(lambda: unlabelled(kt.models.SimCLR(encoder(), projector(), chunk_size=3)), *views()),
    "SupCon": Row(lambda: unlabelled(kt.models.SupCon(encoder(), projector())), *labelled_views()),
    "BYOL": Row(lambda: unlabelled(kt.models.BYOL(encoder(), projector(), projector(), momentum=0.9)), *views()),
    "SimSiam": Row(lambda: unlabelled(kt.models.SimSiam(encoder(), projector(), projector())), *views()),
    "BarlowTwins": Row(lambda: unlabelled(kt.models.BarlowTwins(encoder(), projector())), *views()),
    "VICReg": Row(lambda: unlabelled(kt.models.VICReg(encoder(), projector())), *views()),
    "MAE": Row(lambda: unlabelled(kt.models.MAE(*vit())), *images(), draws=True, attends=True),
    "Inpainting": Row(lambda: unlabelled(kt.models.Inpainting(*image_networks())), *images(), draws=True),
    "Reptile": Row(lambda: compiled(kt.models.Reptile(classifier(), batch_size=3)), *episode_batch()),
}
