"""The contract notices what breaks it: one deliberately broken subject for each promise."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_transfer as kt
from keras_transfer import testing
from tests.contract import DIM, compiled, discriminator, domains, eagerly, encoder, head, unlabelled, views

BATCH, PLAIN = domains()
x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


def notices(message):
    return pytest.raises(AssertionError, match=message)


def saved_by_name(cls):
    return keras.saving.custom_object_scope({cls.__name__: cls})


# Layers.


class Scale(keras.layers.Layer):
    """A sound layer."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gain * self.factor

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class ForgetsFactor(Scale):
    def get_config(self):
        return keras.layers.Layer.get_config(self)


class ChangesConfig(Scale):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(2 * factor, **kwargs)


class MisstatesShape(Scale):
    def compute_output_shape(self, shape):
        return (*shape, 1)


class InfiniteSlope(Scale):
    def call(self, x):
        return 1.0 + ops.sqrt(0.0 * ops.abs(x))


class OverflowsHalf(Scale):
    def call(self, x):
        return ops.sum(3e4 * x, axis=-1, keepdims=True) * 100

    def compute_output_shape(self, shape):
        return (shape[0], 1)


def test_sound_layer():
    with saved_by_name(Scale):
        kt.testing.check_layer(Scale(3.0), x)


@pytest.mark.parametrize(
    "layer, message",
    [
        (ForgetsFactor(3.0), "outputs changed in a round trip"),
        (ChangesConfig(3.0), "the config changed in a round trip"),
        (MisstatesShape(), r"output shape \(6, 4\), stated \(6, 4, 1\)"),
        (InfiniteSlope(), "the gradient is not finite in float32"),
        (OverflowsHalf(), "the gradient is not finite in mixed_float16"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Scale) else "",
)
def test_broken_layer(layer, message):
    with notices(message), saved_by_name(type(layer)):
        kt.testing.check_layer(layer, x)


# Losses.


def distance(y_true, y_pred):
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    return ops.mean(ops.square(y_true - y_pred))


@keras.saving.register_keras_serializable(package="tests")
class Distance(keras.losses.Loss):
    """Sound with a factor of 1; its config loses the factor."""

    def __init__(self, factor=1.0, name="distance", **kwargs):
        super().__init__(name=name, **kwargs)
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * distance(y_true, y_pred)


def test_sound_loss():
    kt.testing.check_loss(distance, Distance(), x, x + 1)
    kt.testing.check_loss(distance, None, x, x + 1)


@pytest.mark.parametrize(
    "function, loss, message",
    [
        (lambda a, b: ops.mean(ops.square(a - b), axis=-1), None, "expected a finite scalar"),
        (lambda a, b: distance(a, b) / 0.0, None, "expected a finite scalar"),
        (lambda a, b: distance(a, ops.stop_gradient(b)) + 0.0 * ops.sum(b), None, "gradient is zero or not finite"),
        (lambda a, b: distance(a, b) + ops.sum(ops.sqrt(0.0 * ops.abs(b))), None, "gradient is zero or not finite"),
        (lambda a, b: ops.mean(ops.square(1e4 * a - 1e4 * b)) / 1e8, None, "float16 inputs give another value"),
        (distance, Distance(factor=2.0), "class and function"),
        (lambda a, b: 2.0 * distance(a, b), Distance(factor=2.0), "class and function"),
    ],
    ids=["vector", "infinite", "no gradient", "gradient not finite", "float16", "other value", "config loses a value"],
)
def test_broken_loss(function, loss, message):
    with notices(message):
        kt.testing.check_loss(function, loss, x, x + 1)


# Models. Each is broken in one place, and the sound one passes every check.


class Broken(kt.models.DANN):
    """Sound as it is."""

    def __init__(self, encoder, head, discriminator, reversal=1.0, domain_weight=1.0, passes="joint", **kwargs):
        super().__init__(encoder, head, discriminator, reversal, domain_weight, passes, **kwargs)


def spoiled(change):
    """A class like DANN whose loss terms are changed by a function of them."""

    class Spoiled(Broken):
        def loss_terms(self, x, y, outputs, sample_weight=None):
            return change(super().loss_terms(x, y, outputs, sample_weight))

    return Spoiled


class LosesWeight(Broken):
    def get_config(self):
        return {**super().get_config(), "domain_weight": 0.0}


class HidesState(Broken):
    """Predicts by a number that is not saved."""

    def infer(self, x, training=False):
        if not hasattr(self, "hidden"):
            self.hidden = float(np.random.default_rng().normal())
        return super().infer(x, training) + self.hidden


class CountsTwice(Broken):
    def advance(self, outputs):
        self.step.assign_add(1)


class LogsTermsOfPlainData(Broken):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {"domain_term": ops.zeros(()), **super().compute_metrics(x, y, y_pred, sample_weight)}

    def get_metrics_result(self):
        return {"domain_term": 0.0, **super().get_metrics_result()}


class ForgetsWhatItServed(Broken):
    """Answers by how often it has been called."""

    calls = 0

    def infer(self, x, training=False):
        self.calls += 1
        return super().infer(x, training) + self.calls


class PredictsNothing(Broken):
    def infer(self, x, training=False):
        return super().infer(x, training) / 0.0


def maker(cls, **kwargs):
    return lambda: compiled(cls(encoder(), head(), discriminator(), **kwargs))


def subject(cls):
    return testing.Subject(eagerly(maker(cls)), BATCH, PLAIN)


def test_sound_model():
    with saved_by_name(Broken):
        testing.check_model(maker(Broken), BATCH, PLAIN)


deaf = spoiled(lambda terms: {**terms, "domain": 0.0 * terms["domain"]})


@pytest.mark.parametrize(
    "cls, check, message",
    [
        (spoiled(lambda terms: {**terms, "domain": terms["domain"] * np.inf}), testing.check_step, "are not finite"),
        (CountsTwice, testing.check_step, "expected step 2 after 2 batches, received 4"),
        (deaf, testing.check_gradients, r"no gradient moves \['[^,]*/bias'\]"),  # its kernel decays
        (spoiled(lambda terms: {n: 0.0 * v for n, v in terms.items()}), testing.check_gradients, "no gradient moves"),
        (LogsTermsOfPlainData, testing.check_plain_data, "evaluation on plain data logs terms"),
        (PredictsNothing, testing.check_plain_data, "predictions are not finite"),
        (HidesState, testing.check_round_trip, "predictions changed in a .keras round trip"),
        (LosesWeight, testing.check_resuming, "after resuming"),
        (ForgetsWhatItServed, testing.check_export, "serving_default/prediction differs"),
    ],
    ids=[
        "infinite",
        "counts twice",
        "deaf",
        "all deaf",
        "logs",
        "predictions",
        "hidden state",
        "lost weight",
        "export",
    ],
)
def test_broken_model(cls, check, message):
    with notices(message), saved_by_name(cls):
        check(subject(cls))


def test_a_gradient_that_is_rounding_is_none_and_can_be_named():
    """Barlow Twins standardises the projections, which takes a bias at their end away."""

    def make():
        shifted = keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(DIM, name="shifted")])
        return unlabelled(kt.models.BarlowTwins(encoder(), shifted))

    with notices(r"no gradient moves \['[^,]*/shifted/bias'\]"):
        testing.check_gradients(testing.Subject(make, *views()))
    testing.check_gradients(testing.Subject(make, *views(), still=("shifted/bias",)))


def test_every_failure_is_named():
    cls = spoiled(lambda terms: {**terms, "domain": 0.0 * terms["domain"]})
    cls.advance = CountsTwice.advance
    with notices("(?s)check_step: .*expected step 2.*check_gradients: .*no gradient moves"), saved_by_name(cls):
        testing.check_model(maker(cls), BATCH, PLAIN, export=False)


def test_undeclared_term():
    cls = spoiled(lambda terms: {**terms, "extra": terms["domain"]})
    with pytest.raises(ValueError, match="declared terms .'domain', 'task'.; received .'domain', 'extra', 'task'."):
        testing.check_step(subject(cls))


def test_a_loss_that_is_not_scaled_in_float16():
    def make():
        model = maker(Broken)()
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), auto_scale_loss=False)
        return model

    with notices("the loss is not scaled in float16"):
        testing.check_float16(testing.Subject(make, BATCH, PLAIN))
    assert keras.config.dtype_policy().name == "float32"


def test_overflow_in_float16():
    cls = spoiled(
        lambda terms: {**terms, "domain": ops.cast(ops.cast(terms["domain"], "float16") * 6e4 * 4, "float32")}
    )
    with notices("float16"):
        testing.check_float16(subject(cls))


def test_replicas_that_differ():
    strategy = tf.distribute.get_strategy()  # one replica: only what is not seeded can differ
    batches = [domains(seed=seed)[0] for seed in range(2)]
    assert testing.check_replicas(maker(Broken), batches, strategy) <= 1e-6
    makes = iter([0.1, 0.2])

    def make():
        return compiled(Broken(encoder(), head(), discriminator()), keras.optimizers.SGD(next(makes)))

    with notices("weights of 1 replicas differ by"):
        testing.check_replicas(make, batches, strategy)
