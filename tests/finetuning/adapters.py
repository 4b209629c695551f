"""Small models for the tests of LoRA: plain, nested, and adapted as if trained."""

import keras
import numpy as np
from keras import layers

from keras_transfer.finetuning import lora

CLASSES = 3


def images(rows=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, size=(rows, 8, 8, 2)).astype("float32"), rng.integers(0, CLASSES, rows)


def encoder(dropout=0.0):
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, strides=2, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="pointwise")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="encoder")


def head():
    return keras.Sequential([keras.Input((8,)), layers.Dense(CLASSES, name="logits")], name="head")


def nested(dropout=0.0, seed=0):
    """A classifier whose encoder and head are models; the same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((8, 8, 2)), encoder(dropout), head()], name="classifier")
    statistics = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight.numpy() + statistics.uniform(0, 0.3, weight.shape))
    return model


def compiled(model, optimizer=None):
    model.compile(optimizer or "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit(model, epochs=2):
    x, y = images()
    return model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0).history["loss"]


def adapted(path=None, seed=0, rank=2, alpha=3.0, also_train=("head", "stem_bn")):
    """A model whose LoRA, head and normalisation, statistics too, have moved somewhere, as if trained."""
    model = nested(seed=0)
    lora.attach(model, rank, alpha, also_train=also_train)
    rng = np.random.default_rng(seed)
    statistics = model.get_layer("encoder").get_layer("stem_bn").weights[2:] if "stem_bn" in also_train else []
    for weight in model.trainable_weights + statistics:
        weight.assign(weight.numpy() + rng.uniform(0, 0.5, weight.shape))
    if path is not None:
        lora.save(model, path)
    return model
