import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import CLASSES, encoder, heads, of_tasks, tasks

(X, Y), _ = tasks()
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="gradients are weighed in TensorFlow"
)


def made(weighting=None, missing=-1, rate=1.0, run_eagerly=True):
    """A model for a few steps, which tracing would only make slow."""
    keras.utils.set_random_seed(0)
    model = kt.models.SharedEncoder(encoder(), heads(), weighting, missing)
    return of_tasks(model, keras.optimizers.SGD(rate), run_eagerly=run_eagerly)


def step(weighting, y=Y):
    """What one step of plain SGD takes from the weights: the encoder's, and those of the heads."""
    model = made(weighting)
    networks = [model.encoder, *model.heads.values()]
    before = [[v.numpy() for v in network.trainable_variables] for network in networks]
    model.train_on_batch(X, y)
    flat = [
        np.concatenate([np.ravel(old - v.numpy()) for old, v in zip(values, network.trainable_variables)])
        for values, network in zip(before, networks)
    ]
    return flat[0], np.concatenate(flat[1:])


def cross_entropy(logits, labels):
    logits = np.float64(logits)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]


def test_losses_are_means_over_the_labels_that_are_there():
    model = made(rate=0.0)
    predictions = model.predict(X, verbose=0)
    logs = model.train_on_batch(X, Y, return_dict=True)
    there = Y["half"] >= 0
    assert 0 < there.sum() < len(X)
    expected = cross_entropy(predictions["half"][there], Y["half"][there]).mean()
    np.testing.assert_allclose(logs["half_term"], expected, rtol=1e-5)
    right = predictions["half"].argmax(1)[there] == Y["half"][there]
    np.testing.assert_allclose(logs["half_accuracy"], right.mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["whole_term"], cross_entropy(predictions["whole"], Y["whole"]).mean(), rtol=1e-5)


def test_sample_weights_by_task():
    """A weight of 0 says that the label is missing; the loss is a mean over the others."""
    weights = {"whole": np.arange(len(X)) % 3.0, "half": np.ones(len(X))}
    model = made(rate=0.0)
    predictions = model.predict(X, verbose=0)
    logs = model.train_on_batch(X, Y, weights, return_dict=True)
    values = weights["whole"] * cross_entropy(predictions["whole"], Y["whole"])
    np.testing.assert_allclose(logs["whole_term"], values.sum() / (weights["whole"] > 0).sum(), rtol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("weighting", [None, kt.weightings.Uncertainty, kt.weightings.PCGrad, kt.weightings.GradNorm])
def test_a_batch_without_labels_of_a_task_trains_the_other(weighting):
    none = {"whole": Y["whole"], "half": np.full(len(X), -1)}
    model = made(weighting and weighting())
    logs = model.train_on_batch(X, none, return_dict=True)
    assert logs["half_term"] == 0 and np.isfinite(logs["loss"])
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_nan_marks_a_missing_value_of_a_regression():
    keras.utils.set_random_seed(0)
    model = kt.models.SharedEncoder(encoder(), heads(), missing=float("nan"))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    y = {task: np.random.default_rng(0).normal(size=(len(X), CLASSES)).astype("float32") for task in model.heads}
    y["half"][::2, 1] = np.nan
    logs = model.train_on_batch(X, y, return_dict=True)
    expected = np.nanmean(np.square(model.predict(X, verbose=0)["half"] - y["half"]))
    np.testing.assert_allclose(logs["half_term"], expected, rtol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("on", ["parameters", "representation"])
def test_without_strength_cagrad_is_the_plain_sum(on):
    """Regularisers count once, heads take their own gradient."""
    for found, expected in zip(step(kt.weightings.CAGrad(0.0, on)), step(None)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def parts():
    """The gradient of each task alone by the encoder, without its regulariser, and the regulariser's."""
    none = np.full(len(X), -1)
    penalty = step(None, {"whole": none, "half": none})[0]
    return [step(None, {**dict.fromkeys(Y, none), task: Y[task]})[0] - penalty for task in Y], penalty


@on_tensorflow
def test_pcgrad_by_hand():
    (a, b), penalty = parts()
    a_on_b, b_on_a = (min(a @ b, 0.0) / (v @ v) for v in (b, a))
    expected = a - a_on_b * b + b - b_on_a * a + penalty
    encoder_step, heads_step = step(kt.weightings.PCGrad())
    np.testing.assert_allclose(encoder_step, expected, atol=1e-6)
    np.testing.assert_allclose(heads_step, step(None)[1], atol=1e-6)


@on_tensorflow
def test_mgda_on_parameters_by_hand():
    (a, b), penalty = parts()
    first = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)
    expected = 2 * (first * a + (1 - first) * b) + penalty
    np.testing.assert_allclose(step(kt.weightings.MGDA(normalized=False))[0], expected, atol=1e-5)


@on_tensorflow
def test_coefficients_on_the_representation_weigh_the_encoders_gradients():
    model = made(kt.weightings.MGDA(on="representation"))
    before = np.concatenate([np.ravel(v) for v in model.encoder.get_weights()])
    model.train_on_batch(X, Y)
    found = before - np.concatenate([np.ravel(v) for v in model.encoder.get_weights()])
    (a, b), penalty = parts()
    first, second = np.array(model.weighting.used)
    assert abs(first - second) > 0.01
    np.testing.assert_allclose(found, first * a + second * b + penalty, atol=1e-6)


@on_tensorflow
def test_cosines_are_those_of_the_gradients():
    model = made(kt.weightings.PCGrad())
    model.train_on_batch(X, Y)
    (a, b), _ = parts()
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(np.array(model.weighting.cosines)[0, 1], expected, rtol=1e-4)


@on_tensorflow
@pytest.mark.parametrize(
    "weighting",
    [
        lambda: kt.weightings.StaticWeighting({"whole": 0.5, "half": 2.0}),
        lambda: kt.weightings.Uncertainty(regression=("half",), from_first_losses=True),
        lambda: kt.weightings.DynamicWeightAverage(steps=1),
        lambda: kt.weightings.MGDA(),
        lambda: kt.weightings.MGDA(on="representation"),
        lambda: kt.weightings.GradNorm(),
    ],
)
def test_contract_with_weightings(weighting):
    def make():
        return made(weighting(), rate=0.1, run_eagerly=False)

    kt.testing.check_model(make, (X, Y), (X, Y), export=False)


def half_precision(weighting):
    """A model under mixed_float16 whose first steps overflow: gradients of errors near 1,000, scaled by 32,768."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        keras.utils.set_random_seed(0)
        model = kt.models.SharedEncoder(encoder(), heads(), weighting)
        model.compile(keras.optimizers.SGD(1e-7), {"whole": "mse", "half": "mae"})
    finally:
        keras.config.set_dtype_policy("float32")
    return model


OVERFLOWS = [
    kt.weightings.GradNorm,
    kt.weightings.PCGrad,
    kt.weightings.MGDA,
    lambda: kt.weightings.DynamicWeightAverage(steps=1),
    lambda: kt.weightings.Uncertainty(from_first_losses=True),
]


@on_tensorflow
@pytest.mark.parametrize("weighting", OVERFLOWS[:4])  # the last weighs by the first losses, and nothing overflows
def test_training_goes_on_after_an_overflow_of_float16(weighting):
    """`step` counts the steps that the optimizer skips; nothing becomes infinite, and weights move again."""
    model = half_precision(weighting())
    y = {task: np.full((len(X), CLASSES), value, "float32") for task, value in (("whole", 1000.0), ("half", 10.0))}
    start = [w.copy() for w in model.heads["whole"].get_weights()]
    for _ in range(30):
        model.train_on_batch(X, y)
    assert model.step.numpy() == 30 and 0 < model.optimizer.inner_optimizer.iterations.numpy() < 30
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert all(np.isfinite(value) for value in model.train_on_batch(X, y, return_dict=True).values())
    assert not np.array_equal(start[0], model.heads["whole"].get_weights()[0])


@on_tensorflow
@pytest.mark.parametrize("weighting", OVERFLOWS)
def test_a_batch_of_infinite_loss_leaves_no_trace(weighting):
    """The optimizer skips its step; a weighting goes on from where it was, at the start as later."""
    y = {task: np.full((len(X), CLASSES), value, "float32") for task, value in (("whole", 3.0), ("half", 2.0))}
    model, calm = half_precision(weighting()), half_precision(weighting())
    for batch in range(5):
        if batch in (0, 3):
            model.train_on_batch(X, {**y, "whole": np.full((len(X), CLASSES), 1e30)})
        for one in (model, calm):
            one.train_on_batch(X, y)
    assert model.step.numpy() == 7 and model.optimizer.inner_optimizer.iterations.numpy() == 5
    for found, expected in zip(model.weights, calm.weights):
        if found is not model.step and "seed" not in found.path:
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-5, err_msg=found.path)


@on_tensorflow
@pytest.mark.parametrize("on", ["parameters", "representation"])
@pytest.mark.parametrize("weighting", [kt.weightings.PCGrad, kt.weightings.MGDA, kt.weightings.CAGrad])
def test_heads_train_where_the_encoder_is_frozen(weighting, on):
    """There is no gradient to weigh: each head takes its own."""
    models = [made(weighting(on=on), rate=0.1), made(rate=0.1)]
    for model in models:
        model.encoder.trainable = False
        of_tasks(model, keras.optimizers.SGD(0.1))
        model.train_on_batch(X, Y)
    for found, expected in zip(*(model.trainable_variables for model in models), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@on_tensorflow
@pytest.mark.parametrize("weighting", [kt.weightings.PCGrad, kt.weightings.MGDA, kt.weightings.CAGrad])
def test_where_all_is_frozen_there_is_an_error(weighting):
    model = made(weighting())
    for network in (model.encoder, *model.heads.values()):
        network.trainable = False
    of_tasks(model)
    with pytest.raises(ValueError, match="variables of SharedEncoder that train; received none: all are frozen"):
        model.train_on_batch(X, Y)


def test_a_weighting_is_of_one_model(tmp_path):
    weighting = kt.weightings.StaticWeighting({"whole": 0.5, "half": 2.0})
    model = made(weighting)
    with pytest.raises(ValueError, match=r"no other model has, .* received StaticWeighting .* Make a new one"):
        made(weighting)
    with pytest.raises(ValueError, match=r"no other model has"):
        kt.models.SoftSharing({"whole": encoder(), "half": encoder()}, heads(), weighting=weighting)
    model.train_on_batch(X, Y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.weighting.used, model.weighting.used)
    with pytest.raises(ValueError, match=r"weighting of the tasks \['a', 'b'\]; received one of \['whole', 'half'\]"):
        built = kt.weightings.PCGrad()
        built.build({"whole": (), "half": ()})
        kt.models.SharedEncoder(encoder(), {"a": heads()["half"], "b": heads()["half"]}, built)
    with pytest.raises(ValueError, match="a `kt.weightings.Weighting` or None; received 'pcgrad'"):
        kt.models.SharedEncoder(encoder(), heads(), "pcgrad")


@on_tensorflow
def test_each_signature_runs_its_own_head_alone(tmp_path):
    import tensorflow as tf

    model = made()
    model.train_on_batch(X, Y)
    version = kt.export(model, tmp_path / "tasks", X, classes={"half": "abc"}, verify=False)
    loaded = tf.saved_model.load(str(version))
    serve = loaded.signatures
    assert set(serve) == {"serving_default", "whole", "half", "embed"}
    (name,) = serve["half"].structured_input_signature[1]
    every, one = (serve[signature](**{name: tf.constant(X)}) for signature in ("serving_default", "half"))
    assert set(every) == {"whole", "half", "half_probabilities", "half_class_id", "half_class_name"}
    assert set(one) == set(every) - {"whole"}
    np.testing.assert_allclose(one["half"], model.predict(X, verbose=0)["half"], atol=1e-6)
    variables = {signature: len(serve[signature].variables) for signature in serve}
    assert variables == {"serving_default": 6, "whole": 4, "half": 4, "embed": 2}
    kt.serving.verify(version, model, X)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ({"whole": Y["whole"]}, r"labels for each of the tasks .*received none for \['half'\]"),
        ({**Y, "more": Y["whole"]}, r"received some for \['more'\], which have no head"),
        (Y["whole"], "labels as a dict of the tasks"),
    ],
)
def test_labels_are_those_of_the_heads(y, message):
    with pytest.raises(ValueError, match=message):
        made().train_on_batch(X, y)


def test_errors():
    with pytest.raises(ValueError, match="a dict of at least 2 tasks to their heads; received 1 of them"):
        kt.models.SharedEncoder(encoder(), {"one": heads()["half"]})
    with pytest.raises(ValueError, match=r"weight for each of the tasks \['half', 'whole'\]; received \['half'\]"):
        kt.models.SharedEncoder(encoder(), heads(), kt.weightings.StaticWeighting({"half": 1.0}))
    model = kt.models.SharedEncoder(encoder(), heads(), missing=-1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"half": loss})
    with pytest.raises(ValueError, match=r"a compiled loss .*received none for \['whole'\]"):
        model.train_on_batch(X, Y)
    model.compile("sgd", loss, metrics=[["accuracy"]] * 2)
    with pytest.raises(ValueError, match="as `weighted_metrics`, since labels may be missing"):
        model.train_on_batch(X, Y)
