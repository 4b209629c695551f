import json

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes.studies import adapt_blocks


def load(config):
    """Handwritten digits in two brightnesses, and blocks that are no backbone's."""
    images, labels = kt.datasets.digits()
    x, y = images[labels < 7].astype("float32")[:400], labels[labels < 7][:400]
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, 2), keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()]
    return {"photo": (x, y), "cartoon": (x**0.7, y)}, keras.Sequential([keras.Input(x.shape[1:]), *layers])


def test_a_short_run(tmp_path):
    config = adapt_blocks.Config(
        targets=("cartoon",),
        arms=("features_mcc", "blocks_mcc"),
        seeds=(0, 1),
        steps=4,
        block_steps=2,
        runs=tmp_path / "runs",
        results=tmp_path / "results",
    )
    record = adapt_blocks.main(config, load)
    assert set(record["means"]) == {"features_mcc", "blocks_mcc"}
    report = record["reports"]["photo_cartoon"]
    assert all(0 <= one["target_accuracy"] <= 1 for of in report["runs"].values() for one in of.values())
    written = json.loads((tmp_path / "results/adapt_blocks/pacs.json").read_text())
    assert written["means"] == record["means"]


def test_blocks_learn_and_the_given_ones_stay():
    found, upper = load(None)
    before = upper.get_weights()
    data = adapt_blocks.pair_of(found["photo"], found["cartoon"])
    config = adapt_blocks.Config(block_steps=30)
    arm = adapt_blocks.train_blocks(config, 0, data, upper, 7, terms=True)
    for old, now in zip(before, upper.get_weights()):
        np.testing.assert_array_equal(now, old)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, arm.target.layers[0].get_weights()))
    means = [network.layers[0].layers[1].moving_mean.numpy() for network in (arm.source, arm.target)]
    assert np.abs(means[0] - means[1]).max() > 1e-3  # each domain has its own statistics


@pytest.mark.parametrize("change", [{"seeds": (0,)}, {"arms": ("features", "all")}])
def test_bad_settings(tmp_path, change):
    with pytest.raises(ValueError, match="at least 2 seeds, and arms among"):
        adapt_blocks.main(adapt_blocks.Config(runs=tmp_path / "runs", **change), load)
