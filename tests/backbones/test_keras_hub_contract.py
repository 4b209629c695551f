"""Backbones of keras_hub keep the contract inside this package's methods: dicts of tokens, and images."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import compiled

keras_hub = pytest.importorskip("keras_hub")

rng = np.random.default_rng(0)
ROWS, TOKENS, CLASSES, DIM = 8, 6, 3, 8


def bert():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20,
        num_layers=1,
        num_heads=2,
        hidden_dim=DIM,
        intermediate_dim=16,
        max_sequence_length=TOKENS,
        dropout=0.0,
    )
    return kt.backbones.from_keras_hub(backbone)


def vit():
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=1,
        num_heads=2,
        hidden_dim=DIM,
        mlp_dim=16,
        dropout_rate=0.0,
        attention_dropout=0.0,
    )
    return kt.backbones.from_keras_hub(backbone, preprocessor=keras.layers.Rescaling(1 / 255))


def tokens():
    return {
        "token_ids": rng.integers(0, 20, (ROWS, TOKENS)).astype("int32"),
        "segment_ids": np.zeros((ROWS, TOKENS), "int32"),
        "padding_mask": np.ones((ROWS, TOKENS), "int32"),
    }


def images():
    return rng.integers(0, 256, (ROWS, 16, 16, 3)).astype("float32")


def dense(units):
    return keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(units)])


LABELS = np.arange(ROWS) % CLASSES
METHODS = {
    "DANN": lambda encoder: kt.models.DANN(encoder(), dense(CLASSES), dense(1)),
    "L2SP": lambda encoder: kt.models.L2SP(encoder(), dense(CLASSES)),
}
CASES = [(method, encoder, data) for method in METHODS for encoder, data in ((bert, tokens), (vit, images))]


def case(method, encoder, data):
    """A function that makes the model, a training batch and a plain one."""
    plain = data(), LABELS
    batch = ({"source": plain[0], "target": data()}, LABELS) if method == "DANN" else plain
    return lambda: compiled(METHODS[method](encoder), keras.optimizers.Adam(0.01)), batch, plain


@pytest.mark.parametrize("method, encoder, data", CASES)
def test_contract(method, encoder, data):
    kt.testing.check_model(*case(method, encoder, data), export=False, still=("key/bias",))


def test_exports(record, tmp_path):
    exports = []
    for number, (method, encoder, data) in enumerate(CASES):
        make, batch, (x, _) = case(method, encoder, data)
        model = make()
        model.train_on_batch(*batch)
        kt.export(model, tmp_path / str(number), x, verify=False)
        exports.append({"path": tmp_path / str(number), "model": model, "x": x})
    results = kt.serving.verify_all(exports)
    names = [f"{method} of {encoder.__name__}" for method, encoder, _ in CASES]
    differences = {name: max(result.differences.values()) for name, result in zip(names, results, strict=True)}
    record("hub", {"keras_hub_largest_difference_export": differences})
    assert max(differences.values()) <= 1e-5
