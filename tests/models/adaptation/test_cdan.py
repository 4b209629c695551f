import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def made(**arguments):
    networks = toy.networks()
    discriminator = keras.Sequential([keras.Input((2 * toy.DIM,)), keras.layers.Dense(1)])
    model = kt.models.CDAN(networks["encoder"], networks["head"], discriminator, **arguments)
    model.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True
    )
    return model


@pytest.mark.parametrize("entropy_conditioning", [True, False])
def test_terms_by_hand(entropy_conditioning):
    """Row by row: the discriminator reads the outer product, sure rows count up to twice."""
    x, y = toy.batch()
    model = made(domain_weight=0.3, entropy_conditioning=entropy_conditioning)
    outputs = toy.checked_outputs(model, x)
    kernel, bias = model.discriminator.get_weights()
    losses = {}
    for domain, logits, sign in (("source", "prediction", 1), ("target", "target_prediction", -1)):
        p, rows, weights = oracles.softmax(outputs[logits]), [], []
        for f, q in zip(outputs[domain], p):
            told = np.outer(f, q).ravel() @ kernel[:, 0] + bias[0]
            rows.append(np.log1p(np.exp(sign * told)))
            weights.append(1 + np.exp((q * np.log(q)).sum()) if entropy_conditioning else 1.0)
        losses[domain] = np.average(rows, weights=weights)
    logs = model.train_on_batch(x, y, return_dict=True)
    domain = (losses["source"] + losses["target"]) / 2
    np.testing.assert_allclose(logs["domain_term"], domain, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], toy.cross_entropy(y, outputs["prediction"]) + 0.3 * domain, rtol=1e-5)


def test_a_discriminator_of_another_width():
    networks = toy.networks()
    model = kt.models.CDAN(**networks)
    with pytest.raises(ValueError, match=r"to take dim \* classes = 16 values; received one that takes 8"):
        model(toy.batch()[0])
