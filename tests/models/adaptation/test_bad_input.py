"""What all methods of the family refuse, before anything has trained."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy

dense = keras.layers.Dense


def wide():
    """A discriminator that takes what it is given."""
    return keras.Sequential([dense(1)])


def another(head):
    return type(head).from_config(head.get_config())


METHODS = {
    "DANN": lambda encoder, head, discriminator, **kwargs: kt.models.DANN(encoder, head, discriminator, **kwargs),
    "DeepCORAL": lambda encoder, head, discriminator, **kwargs: kt.models.DeepCORAL(encoder, head, **kwargs),
    "DAN": lambda encoder, head, discriminator, **kwargs: kt.models.DAN(encoder, head, **kwargs),
    "CDAN": lambda encoder, head, discriminator, **kwargs: kt.models.CDAN(encoder, head, wide(), **kwargs),
    "WDGRL": lambda encoder, head, discriminator, **kwargs: kt.models.WDGRL(encoder, head, discriminator, **kwargs),
    "MCD": lambda encoder, head, discriminator, **kwargs: kt.models.MCD(encoder, head, another(head), **kwargs),
    "MDD": lambda encoder, head, discriminator, **kwargs: kt.models.MDD(encoder, head, another(head), **kwargs),
    "JAN": lambda encoder, head, discriminator, **kwargs: kt.models.JAN(encoder, head, **kwargs),
    "DeepJDOT": lambda encoder, head, discriminator, **kwargs: kt.models.DeepJDOT(encoder, head, **kwargs),
}
each_method = pytest.mark.parametrize("method", METHODS)
eager_or_not = pytest.mark.parametrize("run_eagerly", [False, True])


def fails_before_training(model, *data, run_eagerly):
    """Fits and returns the message of the error; nothing may have moved."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], run_eagerly=run_eagerly)
    before = {v.path: v.numpy() for v in model.variables}
    with pytest.raises(ValueError) as raised:
        model.fit(*data, batch_size=4, verbose=0)
    assert model.step.numpy() == 0 and model.optimizer.iterations.numpy() == 0
    after = {v.path: v.numpy() for v in model.variables}
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)
    return str(raised.value)


@each_method
@eager_or_not
def test_plain_batches(method, run_eagerly):
    x, y = toy.batch()
    model = METHODS[method](**toy.networks())
    message = fails_before_training(model, x["source"], y, run_eagerly=run_eagerly)
    assert f"Expected {method} to train on batches whose `x` is a dict with the streams ('source', 'target')" in message


@each_method
@pytest.mark.parametrize("names", [("source",), ("source", "goal"), ("source", "target", "more")])
def test_a_stream_that_is_missing_misnamed_or_too_much(method, names):
    x, y = toy.batch(12, 12)
    wrong = {name: x.get(name, x["target"]) for name in names}
    message = fails_before_training(METHODS[method](**toy.networks()), wrong, y, run_eagerly=False)
    assert f"the streams ('source', 'target'); received a dict of {names}" in message


@each_method
@eager_or_not
@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), ()], ids=["rank 3", "rank 1"])
def test_encoder_that_does_not_return_features(method, run_eagerly, built, shape):
    layers = [dense(12), keras.layers.Reshape(shape)] if shape else [dense(1), keras.layers.Reshape(())]
    first = [keras.Input((2,))] if built else []
    encoder = keras.Sequential([*first, *layers], name="my_encoder")
    networks = {"head": keras.Sequential([dense(2)]), "discriminator": keras.Sequential([dense(1)])}
    x, y = toy.batch(12, 12)
    message = fails_before_training(METHODS[method](encoder, **networks), x, y, run_eagerly=run_eagerly)
    assert "Expected the encoder 'my_encoder' to return features of shape (batch, dim); received shape" in message


@each_method
def test_encoder_with_several_outputs(method):
    inputs = keras.Input((2,))
    encoder = keras.Model(inputs, {"a": dense(4)(inputs), "b": dense(4)(inputs)}, name="my_encoder")
    networks = {**toy.networks(), "encoder": encoder}
    x, y = toy.batch(12, 12)
    message = fails_before_training(METHODS[method](**networks), x, y, run_eagerly=False)
    assert "Expected the encoder 'my_encoder' to return features of shape (batch, dim)" in message


@eager_or_not
@pytest.mark.parametrize("layers", [[dense(2)], [dense(1), keras.layers.Reshape(())]], ids=["two logits", "no axis"])
def test_discriminator_that_does_not_return_one_logit(layers, run_eagerly):
    discriminator = keras.Sequential([keras.Input((toy.DIM,)), *layers], name="my_discriminator")
    x, y = toy.batch(12, 12)
    model = kt.models.DANN(**{**toy.networks(), "discriminator": discriminator})
    message = fails_before_training(model, x, y, run_eagerly=run_eagerly)
    assert "Expected the discriminator 'my_discriminator' to return one logit, shape (batch, 1); received" in message


@each_method
def test_unknown_passes(method):
    with pytest.raises(ValueError, match="""Expected `passes` to be "joint" or "separate"; received 'both'."""):
        METHODS[method](**toy.networks(), passes="both")


def test_one_row_per_domain():
    x, y = toy.batch(1, 1)
    for method in ("DeepCORAL", "DAN", "JAN"):
        model = METHODS[method](**toy.networks())
        assert "batches of at least 2 rows" in fails_before_training(model, x, y, run_eagerly=True)
