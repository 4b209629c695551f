"""On a problem that only adaptation solves, methods beat training on the source alone."""

import keras
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy

RAMP, WEAK = kt.schedules.DannRamp(toy.STEPS), kt.schedules.DannRamp(toy.STEPS, peak=0.3)


def head():
    return keras.Sequential([keras.Input((toy.DIM,)), keras.layers.Dense(2)])


def network(inputs):
    layers = keras.layers
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(16, "relu"), layers.Dense(1)])


METHODS = {
    "CDAN": lambda e, h: kt.models.CDAN(e, h, network(2 * toy.DIM), reversal=WEAK),
    "WDGRL": lambda e, h: kt.models.WDGRL(e, h, network(toy.DIM), reversal=RAMP),
    "MCD": lambda e, h: kt.models.MCD(e, h, head(), agreement_weight=RAMP),
    "JAN": lambda e, h: kt.models.JAN(e, h, mmd_weight=RAMP),
    "DeepJDOT": lambda e, h: kt.models.DeepJDOT(e, h, transport_weight=RAMP, feature_weight=0.1),
}


@pytest.mark.parametrize("name", METHODS)
def test_beats_the_source_only_baseline(name):
    accuracy = toy.target_accuracy(lambda encoder, head, discriminator: METHODS[name](encoder, head))
    assert accuracy > toy.source_only() + toy.MARGIN
