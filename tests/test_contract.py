import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import ALIKE, METHODS, OF_TOKENS, ON_IMAGES

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
CHECKS = [check for check in kt.testing.MODEL_CHECKS if check is not kt.testing.check_export]
ROWS = {name: row for name, row in METHODS.items() if ON_TENSORFLOW or not (row.combines or name in ALIKE)}
ROWS |= {f"{name} on images": row for name, row in ON_IMAGES.items() if ON_TENSORFLOW}


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    return ROWS[request.param]


@pytest.fixture(scope="module")
def subject(row):
    return kt.testing.Subject(row.make, row.batch, row.plain, row.still)


def test_every_public_method_has_a_row():
    public = {name for name in kt.models.__all__ if isinstance(getattr(kt.models, name), type)}
    assert public == set(METHODS) == set(ON_IMAGES) | set(OF_TOKENS)


@pytest.mark.parametrize("check", CHECKS)
def test_contract(row, subject, check):
    own = (kt.testing.check_float16, kt.testing.check_resuming, kt.testing.check_plain_data)
    if check in own and not ON_TENSORFLOW:
        pytest.skip("is Keras's own there, and takes long to compile")
    if check is kt.testing.check_float16 and row in ON_IMAGES.values():
        pytest.skip("dense networks show what float16 does to a method")
    check(subject)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the checks trace on other backends")
@pytest.mark.parametrize("name", ["SimCLR", "MAML", "Reptile"])
def test_loops_inside_a_step_are_traced_in_float16_too(name):
    """The checks run float16 eagerly; a loop of a graph fails where it changes a type."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = METHODS[name].make()
        logs = model.train_on_batch(*METHODS[name].batch, return_dict=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(value) for value in logs.values())


@pytest.mark.skipif(not ON_TENSORFLOW, reason="the layer is tested there, and eager steps take long")
@pytest.mark.parametrize("name", ["DANN", "CDAN", "WDGRL", "MCD", "MDD"])
def test_gradients_reach_the_encoder_reversed(name):
    """The gradient of an adversary's aim at the encoder is -reversal times what serves that aim."""
    row = METHODS[name]
    changes = {}
    for strength in (-1.0, 0.0, 1.0):
        keras.utils.set_random_seed(0)
        model = row.make()
        model.reversal = strength  # -1 is no strength that a user may ask for
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1.0), loss, run_eagerly=True)
        before = model.encoder.get_weights()[0]
        model.train_on_batch(*row.batch)
        changes[strength] = model.encoder.get_weights()[0] - before
    np.testing.assert_allclose(changes[1.0] - changes[0.0], -(changes[-1.0] - changes[0.0]), atol=1e-6)
    assert np.abs(changes[1.0] - changes[0.0]).max() > 1e-3
