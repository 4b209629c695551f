"""A pretrained encoder goes into fine-tuning as it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from tests.contract import METHODS, compiled, eagerly

SELF_SUPERVISED = ("SimCLR", "SupCon", "BYOL", "SimSiam", "BarlowTwins", "VICReg", "MAE", "Inpainting")


def trained(name):
    """A pretrained encoder, labelled rows for it, and a new head."""
    model, (rows, _) = eagerly(METHODS[name].make)(), METHODS[name].plain
    model.train_on_batch(*METHODS[name].batch)
    head = keras.Sequential([keras.Input(model.encoder.output_shape[1:]), keras.layers.Dense(3)])
    return model.encoder, head, rows, np.arange(len(rows), dtype="int32") % 3


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_lora_and_rates_for_layers(name):
    encoder, head, x, y = trained(name)
    classifier = keras.Sequential([encoder, head])
    attached = kt.finetuning.lora.attach(classifier, rank=2, also_train=head.path)
    rates = {".*lora_kernel_[ab]": 0.5}
    compiled(classifier, kt.finetuning.LayerwiseOptimizer(keras.optimizers.Adam(0.05), rates))
    losses = classifier.fit(tf.data.Dataset.from_tensors((x, y)).repeat(10), epochs=3, verbose=0).history["loss"]
    assert attached.layers and losses[-1] < losses[0]
    merged = kt.finetuning.lora.merge(classifier)
    np.testing.assert_allclose(merged(x), classifier(x), atol=1e-4)


def test_l2sp_starts_from_its_weights(tmp_path):
    encoder, head, x, y = trained("SimCLR")
    model = compiled(kt.models.L2SP(encoder, head), run_eagerly=True)
    assert model.train_on_batch(x, y, return_dict=True)["start_term"] == 0.0
    version = kt.export(model, tmp_path / "classes", x, verify=False)
    assert max(kt.serving.verify(version, model, x).differences.values()) <= 1e-5
