import keras
import numpy as np

import keras_transfer as kt
from tests.losses.test_mmd import mmd_by_hand
from tests.models.adaptation import toy


def test_terms_by_hand():
    x, y = toy.batch()
    networks = toy.networks()
    model = kt.models.DAN(networks["encoder"], networks["head"], mmd_weight=0.3)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    outputs = toy.checked_outputs(model, x)
    task = toy.cross_entropy(y, outputs["prediction"])
    mmd = mmd_by_hand(outputs["source"], outputs["target"])
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose([logs["task_term"], logs["mmd_term"]], [task, mmd], rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], task + 0.3 * mmd, rtol=1e-4)


def test_beats_the_source_only_baseline():
    def make(encoder, head, discriminator):
        return kt.models.DAN(encoder, head, mmd_weight=3.0)

    assert toy.target_accuracy(make) > toy.source_only() + toy.MARGIN
