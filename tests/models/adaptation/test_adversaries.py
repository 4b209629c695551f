"""What adversaries learn where nothing is hidden from them, and what hides it: every adversarial method."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy

m = kt.models


def dense(inputs, outputs, hidden=16):
    layers = [keras.layers.Dense(hidden, "relu")] if hidden else []
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(outputs)])


def told(output):
    return output["source_domain"] < 0, output["target_domain"] > 0


def told_by_the_critic(output):
    """By the mean of what it says of either domain."""
    source, target = output["source_told"], output["target_told"]
    middle = (source.mean() + target.mean()) / 2
    return source > middle, target < middle


def told_by_the_heads(first, second):
    """Agreement says source, disagreement says target."""

    def agree(output, domain):
        return output[first[domain]].argmax(-1) == output[second[domain]].argmax(-1)

    return lambda output: (agree(output, 0), ~agree(output, 1))


METHODS = {
    "DANN": (lambda e, h: m.DANN(e, h, dense(toy.DIM, 1), reversal=0.0), told),
    "CDAN": (lambda e, h: m.CDAN(e, h, dense(2 * toy.DIM, 1), reversal=0.0), told),
    "WDGRL": (lambda e, h: m.WDGRL(e, h, dense(toy.DIM, 1), reversal=0.0), told_by_the_critic),
    "ADDA": (lambda e, h: m.ADDA(e, kt.networks.copy_network(e), h, dense(toy.DIM, 1), fool_weight=0.0), told),
    "MCD": (
        lambda e, h: m.MCD(e, h, dense(toy.DIM, 2), reversal=0.0),
        told_by_the_heads(("prediction", "first_view"), ("second_prediction", "second_view")),
    ),
    "MDD": (
        lambda e, h: m.MDD(e, h, dense(toy.DIM, 2), reversal=0.0),
        told_by_the_heads(("prediction", "target_prediction"), ("source_against", "target_against")),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_without_a_reversal_the_adversary_tells_separable_domains_apart(name):
    make, tell = METHODS[name]
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    (x, y), new = toy.domain(256, rng), toy.domain(1000, rng)[0]
    model = make(dense(2, toy.DIM, hidden=0), dense(toy.DIM, 2))  # a linear encoder loses nothing
    labelled = name != "ADDA"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if labelled else None
    model.compile(keras.optimizers.Adam(0.03), loss)
    stream = kt.streams.domains((x, y), x + 8.0, batch_size=64, seed=0)
    stream = stream if labelled else stream.map(lambda x, _: x)
    model.fit(stream, epochs=30, verbose=0, shuffle=False)
    outputs = {name: np.asarray(output) for name, output in model({"source": new, "target": new + 8.0}).items()}
    assert np.mean(tell(outputs)) > 0.95
