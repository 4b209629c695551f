import keras
import numpy as np

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def test_terms_by_hand():
    networks, (x, y) = toy.networks(), toy.batch()
    model = kt.models.JAN(networks["encoder"], networks["head"], mmd_weight=0.3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    outputs = toy.checked_outputs(model, x)
    p = [oracles.softmax(outputs[name]) for name in ("prediction", "target_prediction")]
    discrepancy = oracles.joint_mmd([outputs["source"], p[0]], [outputs["target"], p[1]])
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["joint_mmd_term"], discrepancy, rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], toy.cross_entropy(y, outputs["prediction"]) + 0.3 * discrepancy, rtol=1e-4)
