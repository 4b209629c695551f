"""TransferModel, on methods so small that NumPy can follow them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_transfer as kt
from tests.contract import (
    CLASSES,
    DIM,
    FEATURES,
    METHODS,
    OF_TOKENS,
    compiled,
    discriminator,
    domains,
    eagerly,
    encoder,
    head,
)

DECAY = 0.01  # of the L2 regularisers in the networks of tests.contract
STEPS = 5  # batches in an epoch
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable(package="tests")
class Gap(kt.TransferModel):
    """task + gap_weight * |mean f_source - mean f_target|^2, with a teacher that follows the encoder."""

    streams = ("source", "target")

    def __init__(self, encoder, head, gap_weight=1.0, teacher=None, **kwargs):
        super().__init__({"task": 1.0, "gap": gap_weight}, **kwargs)
        self.encoder, self.head = encoder, head
        self.gap_weight, self.teacher = gap_weight, teacher
        if teacher is not None:
            teacher.trainable = False

    def forward(self, x, training=False):
        source, target = (self.encoder(x[name], training=training) for name in self.streams)
        return {"prediction": self.head(source, training=training), "source": source, "target": target}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        gap = ops.mean(outputs["source"], axis=0) - ops.mean(outputs["target"], axis=0)
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        return {"task": task, "gap": ops.sum(ops.square(gap))}

    def advance(self, outputs):
        if self.teacher is not None:
            for old, new in zip(self.teacher.variables, self.encoder.variables):
                old.assign(0.75 * old + 0.25 * new)


@keras.saving.register_keras_serializable(package="tests")
class Views(kt.TransferModel):
    """Two views of unlabelled rows have equal features."""

    streams = ("view_1", "view_2")

    def __init__(self, encoder, **kwargs):
        super().__init__({"distance": 1.0}, **kwargs)
        self.encoder = encoder

    def infer(self, x, training=False):
        return self.encoder(x, training=training)

    def forward(self, x, training=False):
        return {name: self.encoder(x[name], training=training) for name in self.streams}

    def loss_terms(self, x, y, outputs, sample_weight=None):
        return {"distance": ops.mean(ops.square(outputs["view_1"] - outputs["view_2"]))}


@keras.saving.register_keras_serializable(package="tests")
class Towers(kt.TransferModel):
    """A method without streams, whose networks come in a list and a dict."""

    def __init__(self, towers, heads, towers_weight=1.0, note=None, **kwargs):
        super().__init__({"task": 1.0, "towers": towers_weight}, **kwargs)
        self.towers, self.heads = towers, heads
        self.towers_weight, self.note = towers_weight, note

    def infer(self, x, training=False):
        return self.heads["class"](sum(tower(x, training=training) for tower in self.towers))

    def loss_terms(self, x, y, outputs, sample_weight=None):
        first, second = (tower(x) for tower in self.towers)
        task = self.task_loss(y, outputs["prediction"], sample_weight)
        return {"task": task, "towers": ops.mean(ops.square(first - second))}


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A network that is built by its first call; it adds the parts of a structured input."""

    def __init__(self, units, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.activation = units, activation
        self.dense = keras.layers.Dense(units, activation, kernel_regularizer=keras.regularizers.L2(DECAY))

    def call(self, x):
        return self.dense(sum(keras.tree.flatten(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units, "activation": self.activation}


def gap(gap_weight=1.0, seed=0, optimizer=None, extra=(), teacher=False, **arguments):
    """A compiled Gap; `extra` layers end its encoder."""
    keras.utils.set_random_seed(seed)
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    network = keras.Sequential([encoder(), *extra]) if extra else encoder()
    model = Gap(network, head(), gap_weight, encoder() if teacher else None)
    model.compile(optimizer, cross_entropy, metrics=["accuracy"], **arguments)
    return model


def batches(known=True, steps=STEPS):
    """A dataset of batches whose length Keras knows, or does not."""
    parts = [domains(seed=seed)[0] for seed in range(steps)]
    dataset = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(lambda *rows: np.stack(rows), *parts))
    return dataset if known else dataset.filter(lambda *batch: True)


def log_loss(logits, y):
    """The cross-entropy of each row."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(y)), y]


def by_hand(model, x, y, weight=1.0):
    """What Gap computes from domains or from a plain input, in NumPy."""
    (kernel, bias), (head_kernel, head_bias) = model.encoder.get_weights(), model.head.get_weights()
    features = {name: np.tanh(rows @ kernel + bias) for name, rows in (x if isinstance(x, dict) else {"x": x}).items()}
    logits = next(iter(features.values())) @ head_kernel + head_bias
    found = {
        "task_term": np.mean(weight * log_loss(logits, y)),
        "accuracy": np.mean(logits.argmax(axis=-1) == y),
        "penalty": DECAY * (np.sum(kernel**2) + np.sum(head_kernel**2)),
    }
    if isinstance(x, dict):
        found["gap_term"] = np.sum((features["source"].mean(axis=0) - features["target"].mean(axis=0)) ** 2)
    return found


def states(model):
    """All that training moves: the variables of the model, seeds of Dropout included, and of the optimizer."""
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def assert_same(model, expected, atol=0.0):
    assert len(states(model)) == len(expected)
    for found, wanted in zip(states(model), expected):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


# Networks and inputs.


def functional(units, activation=None, width=None):
    inputs = keras.Input((width,))
    layer = keras.layers.Dense(units, activation, kernel_regularizer=keras.regularizers.L2(DECAY))
    return keras.Model(inputs, layer(inputs))


def sequential(units, activation=None, width=None):
    layer = keras.layers.Dense(units, activation, kernel_regularizer=keras.regularizers.L2(DECAY))
    return keras.Sequential([layer] if width is None else [keras.Input((width,)), layer])


NETWORKS = {
    "functional": (functional, True),
    "Sequential": (sequential, True),
    "Sequential, unbuilt": (sequential, False),
    "subclassed, unbuilt": (lambda units, activation=None, width=None: Subclassed(units, activation), False),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_trains_and_reloads(kind, tmp_path):
    make, built = NETWORKS[kind]
    widths = (FEATURES, DIM) if built else (None, None)
    model = compiled(Gap(make(DIM, "tanh", widths[0]), make(CLASSES, None, widths[1])))
    x, y = domains()[0]
    model.build((None, FEATURES))
    expected = by_hand(model, x, y)
    logs = model.train_on_batch(x, y, return_dict=True)
    for name in ("task_term", "gap_term", "accuracy"):
        np.testing.assert_allclose(logs[name], expected[name], rtol=1e-5)
    total = expected["task_term"] + expected["gap_term"] + expected["penalty"]
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(again, states(model))
    for each in (model, again):
        each.train_on_batch(x, y)
    assert_same(again, states(model))


@pytest.mark.parametrize("shape", [(None, FEATURES), {"source": (None, FEATURES), "target": (None, FEATURES)}])
def test_build_reaches_what_only_training_reaches(shape, tmp_path):
    """So that weights can be loaded into a new model, the discriminator's too."""

    def make():
        dense = keras.layers.Dense
        return kt.models.DANN(keras.Sequential([dense(DIM, "tanh")]), keras.Sequential([dense(CLASSES)]), Subclassed(1))

    trained, fresh = compiled(make()), make()
    (x, y), plain = domains()
    trained.train_on_batch(x, y)
    trained.save_weights(tmp_path / "model.weights.h5")
    fresh.build(shape)
    assert fresh.discriminator.built and len(fresh.trainable_variables) == 6
    fresh.load_weights(tmp_path / "model.weights.h5")
    for found, wanted in zip(fresh.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(fresh.predict(plain[0], verbose=0), trained.predict(plain[0], verbose=0))


@pytest.mark.parametrize(
    "structure, built, passes", [(dict, True, "separate"), (dict, False, "joint"), (tuple, False, "separate")]
)
def test_structured_inputs_inside_a_stream(structure, built, passes, tmp_path):
    def split(rows):
        parts = {"first": rows[:, :4], "second": rows[:, 4:]}
        return parts if structure is dict else tuple(parts.values())

    def make_encoder():
        if not built:
            return Subclassed(DIM, "tanh")
        first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
        inputs = {"first": first, "second": second} if structure is dict else (first, second)
        return keras.Model(inputs, keras.layers.Dense(DIM, "tanh")(keras.layers.Add()([first, second])))

    (x, y), plain = domains()
    x, plain_x = {name: split(rows) for name, rows in x.items()}, split(plain[0])
    model = compiled(kt.models.DANN(make_encoder(), head(), discriminator(), passes=passes))
    dataset = tf.data.Dataset.from_tensors((x, y)).repeat(2)
    model.fit(dataset, verbose=0, validation_data=(plain_x, plain[1]))
    assert model.step.numpy() == 2
    prediction = model.predict(plain_x, verbose=0)
    kernel, bias = model.encoder.get_weights()
    features = np.tanh((plain[0][:, :4] + plain[0][:, 4:]) @ kernel + bias)
    head_kernel, head_bias = model.head.get_weights()
    np.testing.assert_allclose(prediction, features @ head_kernel + head_bias, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(plain_x, verbose=0), prediction, atol=1e-6)
    assert np.isfinite(again.train_on_batch(x, y, return_dict=True)["domain_term"])


def test_networks_in_lists_and_dicts_schedules_and_none_survive_saving(tmp_path):
    ramp = kt.schedules.LinearRamp(4, end=2.0)
    model = compiled(Towers([encoder(), encoder()], {"class": head()}, ramp, note=None))
    _, (x, y) = domains()
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.towers_weight, kt.schedules.LinearRamp) and again.note is None
    assert again.towers_weight.get_config() == ramp.get_config()
    assert len(again.towers) == 2 and set(again.heads) == {"class"}
    assert_same(again, states(model))
    for each in (model, again):
        each.train_on_batch(x, y)
    assert_same(again, states(model))


# Losses, weights and metrics.


@pytest.mark.parametrize("passes", ["joint", "separate", "its own"])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_TOKENS])  # whose networks have none
def test_loss_is_the_weighted_terms_and_the_regularisers_once(name, passes):
    row = METHODS[name]
    model = eagerly(row.make)()
    if passes != "its own":
        if getattr(model, "passes", None) not in ("joint", "separate"):
            pytest.skip(f"{name} has one way to run its networks")
        model.passes = passes
    parts = keras.tree.flatten([getattr(model, argument) for argument in model._config_names()])
    networks = [part for part in parts if isinstance(part, keras.Sequential)]
    kernels = [v for network in networks for v in network.trainable_variables if v.regularizer]
    penalty = DECAY * sum(np.sum(keras.ops.convert_to_numpy(kernel) ** 2) for kernel in kernels)
    assert penalty > 0.05
    logs = model.train_on_batch(*row.batch, return_dict=True)
    total = sum(float(weight) * logs[f"{term}_term"] for term, weight in model.term_weights.items())
    np.testing.assert_allclose(logs["loss"], total + penalty, rtol=1e-5)


@pytest.mark.parametrize(
    "weight, values",
    [
        (2.5, [2.5, 2.5, 2.5, 2.5]),
        (kt.schedules.LinearRamp(2, start=1.0, end=3.0), [1.0, 2.0, 3.0, 3.0]),
        (keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 4.0]), [0.5, 0.5, 4.0, 4.0]),
    ],
    ids=["float", "LinearRamp", "PiecewiseConstantDecay"],
)
def test_weights_of_terms_follow_the_step(weight, values):
    model = gap(weight, optimizer=keras.optimizers.SGD(0.0))
    x, y = domains()[0]
    expected = by_hand(model, x, y)
    for value in values:
        logs = model.train_on_batch(x, y, return_dict=True)
        total = expected["task_term"] + value * expected["gap_term"] + expected["penalty"]
        np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)
        np.testing.assert_allclose(logs["gap_term"], expected["gap_term"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["sample_weight", "class_weight", "class_weight of a dataset"])
def test_weights_of_rows(kind):
    model = gap(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    x, y = domains(16, 16)[0]
    if kind == "sample_weight":
        weight = np.linspace(0.0, 3.0, len(y), dtype="float32")
        history = model.fit(x, y, sample_weight=weight, batch_size=16, verbose=0).history
    else:
        class_weight = {0: 0.5, 1: 3.0, 2: 0.0}
        weight = np.array([class_weight[label] for label in y])
        data = (x, y) if kind == "class_weight" else (tf.data.Dataset.from_tensors((x, y)),)
        history = model.fit(*data, class_weight=class_weight, verbose=0).history
    expected, unweighted = by_hand(model, x, y, weight), by_hand(model, x, y)
    assert abs(expected["task_term"] - unweighted["task_term"]) > 1e-2
    np.testing.assert_allclose(history["task_term"], [expected["task_term"]], rtol=1e-5)
    np.testing.assert_allclose(history["gap_term"], [unweighted["gap_term"]], rtol=1e-5)
    total = expected["task_term"] + expected["gap_term"] + expected["penalty"]
    np.testing.assert_allclose(history["loss"], [total], rtol=1e-5)


def test_logs_are_means_over_the_rows_of_the_epoch():
    """Of training, and of validation on streams and on plain data; the last batch is shorter."""
    model = gap(optimizer=keras.optimizers.SGD(0.0))
    (x, y), plain = domains(20, 20)

    def ragged(size, *data):
        return tf.data.Dataset.from_tensor_slices(data).batch(size)

    def mean(size, x, y):
        parts = [
            keras.tree.map_structure(lambda rows, at=at: rows[at : at + size], (x, y)) for at in range(0, 20, size)
        ]
        found = [by_hand(model, *part) for part in parts]
        rows = [len(part[1]) for part in parts]
        assert rows[-1] < size
        means = {name: np.average([values[name] for values in found], weights=rows) for name in found[0]}
        return {"loss": means["task_term"] + means.get("gap_term", 0.0) + means.pop("penalty"), **means}

    trained = mean(8, x, y)
    streams = {f"val_{name}": value for name, value in mean(12, x, y).items()}
    served = {f"val_{name}": value for name, value in mean(12, *plain).items()}
    del served["val_task_term"]  # plain data has no terms
    for validation, expected in ((ragged(12, x, y), streams), (plain, served), (ragged(12, *plain), served)):
        history = model.fit(ragged(8, x, y), epochs=2, verbose=0, validation_data=validation).history
        assert set(history) == {*trained, *expected}
        for name, value in {**trained, **expected}.items():
            np.testing.assert_allclose(history[name], [value, value], rtol=1e-5, err_msg=name)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_evaluation_counts_the_rows_that_it_finds():
    """Keras alone would divide by one batch more: the length is unknown and the batches have a static size."""
    model = gap()
    known, unknown = (model.evaluate(batches(known), verbose=0, return_dict=True) for known in (True, False))
    assert known["loss"] > 1.0 and set(known) == {"loss", "accuracy", "task_term", "gap_term"}
    for name, value in known.items():
        np.testing.assert_allclose(unknown[name], value, rtol=1e-6, err_msg=name)


def test_predict_is_the_served_path():
    model = gap()
    (x, y), plain = domains(20)
    model.train_on_batch(x, y)
    (kernel, bias), (head_kernel, head_bias) = model.encoder.get_weights(), model.head.get_weights()
    expected = np.tanh(plain[0] @ kernel + bias) @ head_kernel + head_bias
    np.testing.assert_allclose(model.predict(plain[0], batch_size=8, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(model(plain[0]), expected, atol=1e-5)
    np.testing.assert_allclose(model(x)["prediction"], expected, atol=1e-5)


def test_a_method_without_streams_takes_plain_batches():
    model = compiled(Towers([encoder(), encoder()], {"class": head()}), keras.optimizers.SGD(0.0))
    _, (x, y) = domains()
    history = model.fit(x, y, batch_size=16, verbose=0, validation_data=(x, y)).history
    kernels = [tower.get_weights() for tower in model.towers]
    first, second = (np.tanh(x @ kernel + bias) for kernel, bias in kernels)
    logits = (first + second) @ model.heads["class"].get_weights()[0] + model.heads["class"].get_weights()[1]
    for prefix in ("", "val_"):
        np.testing.assert_allclose(history[f"{prefix}task_term"], [log_loss(logits, y).mean()], rtol=1e-5)
        np.testing.assert_allclose(history[f"{prefix}towers_term"], [np.mean((first - second) ** 2)], rtol=1e-5)


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_moving_statistics_of_batch_normalization(passes):
    """Joint: one move to the statistics of all rows. Separate: one move to the source's, then one to the target's."""
    normalization = keras.layers.BatchNormalization(momentum=0.9)
    networks = [keras.Sequential([keras.Input((FEATURES,)), normalization])]
    networks += [keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(units)]) for units in (CLASSES, 1)]
    model = compiled(kt.models.DANN(*networks, passes=passes))
    x, y = domains()[0]
    model.train_on_batch(x, y)
    rows = [np.concatenate([x["source"], x["target"]])] if passes == "joint" else [x["source"], x["target"]]
    mean, variance = np.zeros(FEATURES), np.ones(FEATURES)
    for part in rows:
        mean, variance = 0.9 * mean + 0.1 * part.mean(axis=0), 0.9 * variance + 0.1 * part.var(axis=0)
    np.testing.assert_allclose(normalization.moving_mean, mean, atol=1e-6)
    np.testing.assert_allclose(normalization.moving_variance, variance, rtol=1e-5)


# The loop.


@pytest.fixture(scope="module")
def reference():
    """Two epochs of the plain loop, with a ramp and a teacher: its state and its history."""
    model = gap(kt.schedules.DannRamp(8), teacher=True)
    history = model.fit(batches(), epochs=2, verbose=0).history
    return states(model), history


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    "known, mode",
    [
        (False, {}),
        (True, {"steps_per_execution": 2}),
        (False, {"steps_per_execution": 2}),
        (True, {"jit_compile": True}),
        (False, {"jit_compile": True}),
        (False, {"run_eagerly": True}),
    ],
    ids=str,
)
def test_every_mode_of_the_loop_trains_the_same(known, mode, reference):
    """Whether or not Keras knows the length: a look for data that finds none moves no counter, teacher or mean."""
    model = gap(kt.schedules.DannRamp(8), teacher=True, **mode)
    history = model.fit(batches(known), epochs=2, verbose=0).history
    assert model.step.numpy() == 2 * STEPS
    assert_same(model, reference[0], atol=2e-6)
    for name, values in reference[1].items():
        np.testing.assert_allclose(history[name], values, atol=1e-5, err_msg=name)


def test_advance_moves_the_teacher_once_in_a_step():
    model = gap(teacher=True)
    teacher = model.teacher.get_weights()
    for seed in range(3):
        student = model.encoder.get_weights()
        teacher = [0.75 * old + 0.25 * new for old, new in zip(teacher, student)]
        model.train_on_batch(*domains(seed=seed)[0])
        for found, wanted in zip(model.teacher.get_weights(), teacher):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    model.evaluate(batches(), verbose=0)
    for found, wanted in zip(model.teacher.get_weights(), teacher):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert model.step.numpy() == 3


class Logs(Gap):
    """Logs the step's number in `advance`, and something in `loss_terms`."""

    def loss_terms(self, x, y, outputs, sample_weight=None):
        self.log("mean_target", ops.mean(x["target"]))
        return super().loss_terms(x, y, outputs, sample_weight)

    def advance(self, outputs):
        assert set(outputs) == {"prediction", "source", "target"}
        self.log("number", ops.cast(self.step, "float32"))


@pytest.mark.parametrize("eagerly", [False, True])
def test_logs_are_epoch_means_shown_where_they_were_computed(eagerly):
    model = compiled(Logs(encoder(), head()))
    model.run_eagerly = eagerly
    history = model.fit(batches(), epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(
        history["number"], [np.mean(range(1, STEPS + 1)), np.mean(range(STEPS + 1, 2 * STEPS + 1))]
    )
    expected = np.mean([domains(seed=seed)[0][0]["target"].mean() for seed in range(STEPS)])
    np.testing.assert_allclose(history["mean_target"], expected, rtol=1e-5)
    on_streams = model.evaluate(batches(), verbose=0, return_dict=True)
    assert "mean_target" in on_streams and "number" not in on_streams  # nothing advances
    on_rows = model.evaluate(*domains()[1], verbose=0, return_dict=True)
    assert set(on_rows) == {"loss", "accuracy"}


def test_gradient_accumulation_is_the_mean_of_the_gradients():
    x, y = zip(*(domains(seed=seed)[0] for seed in range(2)))
    moves = []
    for batch in zip(x, y):
        model = gap(optimizer=keras.optimizers.SGD(0.1))
        before = model.get_weights()
        model.train_on_batch(*batch)
        moves.append([new - old for old, new in zip(before, model.get_weights())])
    model = gap(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    for batch in zip(x, y):
        model.train_on_batch(*batch)
    found = dict(zip((w.path for w in model.weights), model.get_weights()))
    step = model.step.path
    assert found.pop(step) == 2
    expected = [old + (a + b) / 2 for w, old, a, b in zip(model.weights, before, *moves) if w.path != step]
    for value, wanted in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-6)


def test_use_ema_averages_the_weights():
    plain, averaged = gap(), gap(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.5))
    mean = None
    for seed in range(3):
        plain.train_on_batch(*domains(seed=seed)[0])
        weights = [w.numpy() for w in plain.trainable_variables]
        mean = weights if mean is None else [0.5 * old + 0.5 * new for old, new in zip(mean, weights)]
    averaged.fit(batches(steps=3), verbose=0)
    for found, wanted in zip(averaged.trainable_variables, mean, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert averaged.step.numpy() == 3


def test_mixed_float16_scales_the_loss():
    x, y = domains()[0]
    moves = {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            model = gap(optimizer=keras.optimizers.SGD(0.1))
        finally:
            keras.config.set_dtype_policy("float32")
        before = [v.numpy() for v in model.trainable_variables]
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")
        model.train_on_batch(x, y)
        moves[policy] = [v.numpy() - old for v, old in zip(model.trainable_variables, before)]
    assert model.optimizer.dynamic_scale.numpy() == 2**15  # a gradient that is not finite halves it
    for half, full in zip(moves["mixed_float16"], moves["float32"]):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, full, atol=2e-2 * np.abs(full).max())


# Callbacks, and training that goes on.


def resumable(seed=0):
    """A built model with every kind of state: momenta, a ramp, moving statistics, seeds of Dropout."""
    keras.utils.set_random_seed(seed)
    extra = [keras.layers.Dropout(0.3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2, seed=7)]
    model = gap(kt.schedules.DannRamp(12), seed, keras.optimizers.Adam(0.01), extra)
    model.build((None, FEATURES))
    return model


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Three epochs at a stretch, with a file of the model and of its weights after each: the state and the files."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = resumable()
    saved = [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True),
    ]
    model.fit(batches(), epochs=3, verbose=0, callbacks=saved)
    return states(model), folder


def test_a_saved_model_trains_on_as_if_never_interrupted(uninterrupted):
    expected, folder = uninterrupted
    model = keras.saving.load_model(folder / "1.keras")
    assert model.step.numpy() == STEPS
    model.fit(batches(), initial_epoch=1, epochs=3, verbose=0)
    assert_same(model, expected, atol=1e-6)


def test_saved_weights_train_on_as_if_never_interrupted(uninterrupted):
    expected, folder = uninterrupted
    model = resumable(seed=1)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / "2.weights.h5")
    assert model.step.numpy() == 2 * STEPS
    model.fit(batches(), initial_epoch=2, epochs=3, verbose=0)
    assert_same(model, expected, atol=1e-6)


def test_back_up_and_restore(uninterrupted, tmp_path):
    class PowerCut(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.step.numpy() == STEPS + 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up = keras.callbacks.BackupAndRestore(tmp_path / "back_up")
        resumable().fit(batches(), epochs=3, verbose=0, callbacks=[back_up, PowerCut()])
    model = resumable(seed=1)
    back_up = keras.callbacks.BackupAndRestore(tmp_path / "back_up")
    history = model.fit(batches(), epochs=3, verbose=0, callbacks=[back_up])
    assert history.epoch == [1, 2]
    assert_same(model, uninterrupted[0], atol=1e-6)


def test_early_stopping_on_a_term():
    """A negative weight widens the gap, so that the first epoch is the best."""
    stop = keras.callbacks.EarlyStopping("gap_term", mode="min", patience=2, restore_best_weights=True)
    model, one_epoch = gap(-1.0), gap(-1.0)
    history = model.fit(batches(), epochs=9, verbose=0, callbacks=[stop]).history["gap_term"]
    assert len(history) == 3 and history[0] < history[1] < history[2]
    one_epoch.fit(batches(), verbose=0)
    for found, wanted in zip(model.get_weights(), one_epoch.get_weights()):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_tensorboard_shows_the_terms(tmp_path):
    pytest.importorskip("tensorboard", reason="pip install tensorboard: TensorFlow no longer brings it")
    history = gap().fit(
        batches(), epochs=2, verbose=0, validation_data=batches(), callbacks=[keras.callbacks.TensorBoard(tmp_path)]
    )
    shown = {}
    for path in tmp_path.rglob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            for value in tf.compat.v1.Event.FromString(record).summary.value:
                if value.tag.startswith("epoch_gap"):
                    shown.setdefault(path.parent.name, []).append(float(tf.make_ndarray(value.tensor)))
    np.testing.assert_allclose(shown["train"], history.history["gap_term"], rtol=1e-6)
    np.testing.assert_allclose(shown["validation"], history.history["val_gap_term"], rtol=1e-6)


# Mistakes.


def test_plain_batches_do_not_train_a_method_with_streams():
    _, (x, y) = domains()
    model = METHODS["DANN"].make()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"Expected DANN to train .* \('source', 'target'\); received plain input"):
        model.fit(x, y, verbose=0)
    for found, wanted in zip(model.get_weights(), before):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("names", [("source",), ("source", "goal"), ("source", "target", "more")])
@pytest.mark.parametrize("built", [True, False])
def test_batches_of_other_streams(names, built):
    x, y = domains(16, 16)[0]
    model = METHODS["DANN"].make() if built else compiled(kt.models.DANN(*(Subclassed(n) for n in (DIM, CLASSES, 1))))
    batch = {name: x["source"] for name in names}
    with pytest.raises(ValueError, match=r"\('source', 'target'\); received a dict of \('source'"):
        model.fit(batch, y, verbose=0)


def test_a_dict_that_shares_no_name_with_the_streams_is_a_plain_input():
    _, (x, y) = domains()
    model = compiled(Views(Subclassed(CLASSES)))
    parts = {"left": x[:, :4], "right": x[:, 4:]}
    with pytest.raises(ValueError, match=r"received a dict of \('left', 'right'\)"):
        model.fit(parts, y, verbose=0)
    kernel, bias = model.encoder.get_weights()
    np.testing.assert_allclose(model.predict(parts, verbose=0), (x[:, :4] + x[:, 4:]) @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("use", ["fit", "call"])
def test_an_argument_that_no_attribute_keeps(use):
    class Forgetful(Gap):
        def __init__(self, encoder, head, strength=1.0, **kwargs):
            super().__init__(encoder, head, **kwargs)

    (x, y), plain = domains(16, 16)
    model = compiled(Forgetful(encoder(), head()))
    with pytest.raises(ValueError, match=r"argument of Forgetful .* no attribute 'strength'"):
        model.fit(x, y, verbose=0) if use == "fit" else model(plain[0])


def test_loss_terms_that_were_not_declared():
    class Undeclared(Gap):
        def loss_terms(self, *args, **kwargs):
            return {**super().loss_terms(*args, **kwargs), "surprise": 0.0}

    with pytest.raises(ValueError, match=r"declared terms \['gap', 'task'\]; received \['gap', 'surprise', 'task'\]"):
        compiled(Undeclared(encoder(), head())).train_on_batch(*domains()[0])


def test_a_task_needs_a_compiled_loss():
    model = Gap(encoder(), head())
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"Expected `Gap.compile` to be called with a `loss`"):
        model.train_on_batch(*domains()[0])


def test_metrics_need_labels():
    x = {"view_1": np.ones((4, FEATURES), "float32"), "view_2": np.zeros((4, FEATURES), "float32")}
    model = Views(encoder())
    model.compile("sgd")
    logs = model.train_on_batch(x, return_dict=True)
    assert set(logs) == {"loss", "distance_term"}
    model.compile("sgd", metrics=["accuracy"])
    with pytest.raises(ValueError, match="Expected labels and an output named 'prediction'"):
        model.train_on_batch(x)


def test_a_method_must_define_its_parts():
    class NoTerms(kt.TransferModel):
        def __init__(self):
            super().__init__({"task": 1.0})

        def infer(self, x, training=False):
            return x

    class NoForward(NoTerms):
        streams = ("source", "target")

    (x, y), plain = domains()
    with pytest.raises(NotImplementedError, match="NoForward has streams and must define `forward`"):
        NoForward()(x)
    model = compiled(NoTerms())
    with pytest.raises(NotImplementedError, match="NoTerms must define `loss_terms`"):
        model.train_on_batch(*plain)


@pytest.mark.filterwarnings("ignore")  # tf_keras has its own
def test_a_network_that_keras_3_does_not_train():
    tf_keras = pytest.importorskip("tf_keras")
    foreign = tf_keras.Sequential([tf_keras.layers.Dense(DIM)])
    with pytest.raises(TypeError, match="Expected `encoder` to be a Keras 3 network; received .*from_hub"):
        kt.models.DAN(foreign, head())
