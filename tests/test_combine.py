"""What becomes of gradients, as users would write it: two methods of continual learning against NumPy."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import CLASSES, FEATURES, compiled, encoder, head

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients are combined in TensorFlow")
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RATE = 0.5


@keras.saving.register_keras_serializable(package="tests")
class AGEM(kt.TransferModel):
    """Learns a task along the gradient that does not raise the loss of the memory of others."""

    streams = ("task", "memory")

    def __init__(self, encoder, head, **kwargs):
        super().__init__({"task": 1.0, "memory": 1.0}, **kwargs)
        self.encoder, self.head = encoder, head

    def forward(self, x, training=False):
        return {stream: self.infer(x[stream], training=training) for stream in self.streams}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        return {stream: self.task_loss(y[stream], outputs[stream]) for stream in self.streams}

    def combine(self, gradients):
        return kt.gradients.project(gradients["task"], gradients["memory"])


@keras.saving.register_keras_serializable(package="tests")
class SI(kt.TransferModel):
    """Integrates how much each weight lowers the loss along its path, each step settled by the next one."""

    def __init__(self, encoder, head, **kwargs):
        super().__init__({"task": 1.0}, **kwargs)
        self.encoder, self.head = encoder, head
        shapes = [v.shape for v in (*encoder.trainable_variables, *head.trainable_variables)]
        self.passed, self.last, self.slope = (
            [self.add_weight(shape=shape, initializer="zeros", trainable=False) for shape in shapes] for _ in range(3)
        )

    def loss_terms(self, x, y, outputs, sample_weight=None):
        return {"task": self.task_loss(y, outputs["prediction"])}

    def combine(self, gradients):
        for v, g, *kept in zip(self.trainable_variables, gradients["task"], self.passed, self.last, self.slope):
            passed, last, slope = kept
            passed.assign_add(-slope * (v - last))
            last.assign(v)
            slope.assign(g)
        return gradients["task"]


def linear():
    """Networks of a softmax regression, which NumPy can follow: an encoder without weights and a linear head."""
    keras.utils.set_random_seed(0)
    identity = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Identity()])
    return identity, keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])


def rows(seed, number=16):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, FEATURES)).astype("float32"), rng.integers(0, CLASSES, number)


def slopes(kernel, bias, x, y):
    """The gradient of the mean cross-entropy of a softmax regression."""
    logits = x @ kernel + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    errors = (p / p.sum(1, keepdims=True) - np.eye(CLASSES)[y]) / len(y)
    return x.T @ errors, errors.sum(0)


def by_hand(gradient, memory):
    """The step of A-GEM, from both gradients in one vector each."""
    g, r = (np.concatenate([part.ravel() for part in parts]) for parts in (gradient, memory))
    return g - g @ r / (r @ r) * r if g @ r < 0 else g


@pytest.mark.parametrize("conflict", [True, False])
def test_agem_equals_numpy(conflict):
    model = AGEM(*linear())
    model.compile(keras.optimizers.SGD(RATE), cross_entropy)
    x, y = rows(0)
    memory = (x, (y + 1) % CLASSES) if conflict else (x, y)  # other labels for the same rows pull against the task
    before = model.head.get_weights()
    gradient, other = slopes(*before, x, y), slopes(*before, *memory)
    product = sum(np.sum(a * b) for a, b in zip(gradient, other))
    assert (product < 0) == conflict
    model.train_on_batch({"task": x, "memory": memory[0]}, {"task": y, "memory": memory[1]})
    moved = np.concatenate([(old - new).ravel() for old, new in zip(before, model.head.get_weights())])
    np.testing.assert_allclose(moved, RATE * by_hand(gradient, other), atol=1e-6)


def test_the_path_integral_of_si_equals_numpy():
    model = SI(*linear())
    model.compile(keras.optimizers.SGD(RATE), cross_entropy)
    weights = [w.astype("float64") for w in model.head.get_weights()]
    path = [np.zeros_like(w) for w in weights]
    steps = 6
    for step in range(steps):
        x, y = rows(step)
        gradient = slopes(*weights, x, y)
        model.train_on_batch(x, y)
        if step < steps - 1:  # the last step is settled by the next one
            path = [p + g * RATE * g for p, g in zip(path, gradient)]
        weights = [w - RATE * g for w, g in zip(weights, gradient)]
    for found, expected in zip(model.head.get_weights(), weights):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for found, expected in zip(model.passed, path):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_combining_method_is_saved_and_goes_on(tmp_path):
    model = SI(*linear())
    model.compile(keras.optimizers.SGD(RATE), cross_entropy)
    model.fit(*rows(0), verbose=0)
    model.save(tmp_path / "si.keras")
    again = keras.saving.load_model(tmp_path / "si.keras")
    for each in (model, again):
        each.fit(*rows(1), verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)


class Doubled(SI):
    """Sums what it gets, twice."""

    def combine(self, gradients):
        assert all(str(g.dtype).endswith("float32'>") for g in gradients["task"])
        return [2.0 * g for g in gradients["task"]]


def test_regularisers_count_once_and_float16_is_unscaled():
    """Twice the gradient, but once that of the regularisers; in float16 what `combine` gets is not scaled."""
    x, y = rows(3)
    changes = {}
    for kind, factor in ((SI, 1.0), (Doubled, 2.0)):
        keras.utils.set_random_seed(0)
        model = compiled(kind(encoder(), head()), keras.optimizers.SGD(1.0))
        before = [v.numpy() for v in model.trainable_variables]
        model.train_on_batch(x, y)
        decay = [0.02 * w if w.ndim > 1 else 0 * w for w in before]  # L2(0.01) of kernels in tests.contract
        after = [v.numpy() for v in model.trainable_variables]
        changes[kind] = [(old - new - d) / factor for old, new, d in zip(before, after, decay)]
    for a, b in zip(changes[SI], changes[Doubled]):
        np.testing.assert_allclose(a, b, atol=1e-6)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(0)
        half = compiled(SI(encoder(), head()), keras.optimizers.SGD(1.0))
        half.train_on_batch(x, y)
    finally:
        keras.config.set_dtype_policy("float32")
    for slope, expected in zip(half.slope, changes[SI]):
        np.testing.assert_allclose(slope.numpy(), expected, atol=5e-3)
        assert np.abs(expected).max() > 0.02


def test_what_combine_returns_is_counted():
    class Short(SI):
        def combine(self, gradients):
            return gradients["task"][:1]

    model = compiled(Short(*linear()))
    with pytest.raises(
        ValueError, match=r"Short.combine to return a list of as many tensors as it gets .* 2; received 1"
    ):
        model.train_on_batch(*rows(0))
