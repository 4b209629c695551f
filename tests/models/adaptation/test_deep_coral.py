import keras
import numpy as np

import keras_transfer as kt
from tests.models.adaptation import toy


def test_terms_by_hand():
    x, y = toy.batch()
    networks = toy.networks()
    model = kt.models.DeepCORAL(networks["encoder"], networks["head"], coral_weight=30.0)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    outputs = toy.checked_outputs(model, x)
    task = toy.cross_entropy(y, outputs["prediction"])
    difference = np.cov(outputs["source"], rowvar=False) - np.cov(outputs["target"], rowvar=False)
    coral = np.linalg.norm(difference) ** 2 / (4 * toy.DIM**2)
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose([logs["task_term"], logs["coral_term"]], [task, coral], rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], task + 30.0 * coral, rtol=1e-4)


def test_beats_the_source_only_baseline():
    def make(encoder, head, discriminator):
        return kt.models.DeepCORAL(encoder, head, coral_weight=30.0)

    assert toy.target_accuracy(make) > toy.source_only() + toy.MARGIN
