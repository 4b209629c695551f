import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


def test_every_public_method_has_a_row():
    public = {name for name in kt.models.__all__ if isinstance(getattr(kt.models, name), type)}
    assert public == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_contract(name):
    row = METHODS[name]
    if ON_TENSORFLOW or not row.attends:
        kt.testing.check_model(row.make, row.batch, row.plain, export=False)
    else:
        kt.testing.check_training(row.make, row.batch, row.plain)
        kt.testing.check_saving(row.make, row.batch, row.plain)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="SavedModels are written by TensorFlow")
def test_exports_hold_what_is_served_and_reload_in_a_fresh_process(tmp_path):
    exports = []
    for name, row in METHODS.items():
        model, x = row.make(), row.plain[0]
        model.train_on_batch(*row.batch)
        kt.export(model, tmp_path / name, x)
        exports.append({"path": tmp_path / name, "model": model, "x": x})
    for export, result in zip(exports, kt.serving.verify_all(exports)):
        embeds = {"embed"} if hasattr(export["model"], "encoder") else set()
        tasks = set(getattr(export["model"], "heads", ()))
        assert set(result.differences) == {"serving_default"} | embeds | tasks


def test_the_contract_notices_what_is_broken():
    row = METHODS["DAN"]

    class Deaf(kt.models.DAN):
        def loss_terms(self, x, y, outputs, sample_weight=None):
            return {name: 0.0 * value for name, value in super().loss_terms(x, y, outputs, sample_weight).items()}

    def make():
        model = row.make()
        deaf = Deaf(keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)]), model.head)
        deaf.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return deaf

    with pytest.raises(AssertionError, match="no gradient moves"):
        kt.testing.check_training(make, row.batch, row.plain)


def test_gradients_reach_the_encoder_reversed():
    """The gradient of `domain` at the encoder is -reversal times that of the discriminator's own aim."""
    row = METHODS["DANN"]
    changes = {}
    for strength in (-1.0, 0.0, 1.0):
        keras.utils.set_random_seed(0)
        model = row.make()
        model = kt.models.DANN(model.encoder, model.head, model.discriminator, reversal=strength)
        model.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = model.encoder.get_weights()[0]
        model.train_on_batch(*row.batch)
        changes[strength] = model.encoder.get_weights()[0] - before
    np.testing.assert_allclose(changes[1.0] - changes[0.0], -(changes[-1.0] - changes[0.0]), atol=1e-6)
    assert np.abs(changes[1.0] - changes[0.0]).max() > 1e-3
