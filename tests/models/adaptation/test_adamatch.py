import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def views(rows=20):
    x, y = toy.batch(target_rows=rows)
    noise = 0.3 * np.random.default_rng(1).normal(size=x["target"].shape).astype("float32")
    return {"source": x["source"], "target_weak": x["target"], "target_strong": x["target"] + noise}, y


@pytest.mark.parametrize("threshold", [0.9, 0.95])
def test_terms_by_hand(threshold):
    keras.utils.set_random_seed(1)
    x, y = views()
    networks = toy.networks()
    networks["head"].set_weights([4 * w for w in networks["head"].get_weights()])  # as sure as a trained one
    model = kt.models.AdaMatch(networks["encoder"], networks["head"], 0.7, threshold)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    outputs = {name: model(rows).numpy().astype("float64") for name, rows in x.items()}  # the path that is served
    source, weak = oracles.softmax(outputs["source"]), oracles.softmax(outputs["target_weak"])
    aligned = weak * source.mean(0) / weak.mean(0)
    aligned /= aligned.sum(1, keepdims=True)
    sure = aligned.max(1) >= threshold * source.max(1).mean()
    assert 0 < sure.sum() < len(sure)
    learned = -np.log(oracles.softmax(outputs["target_strong"])[np.arange(len(sure)), aligned.argmax(1)])
    logs = model.train_on_batch(x, y, return_dict=True)
    task, consistency = toy.cross_entropy(y, outputs["source"]), (sure * learned).mean()
    np.testing.assert_allclose(logs["task_term"], task, rtol=1e-5)
    np.testing.assert_allclose(logs["consistency_term"], consistency, rtol=1e-5)
    np.testing.assert_allclose(logs["share_sure"], sure.mean(), rtol=1e-6)
    np.testing.assert_allclose(logs["loss"], task + 0.7 * consistency, rtol=1e-5)


def test_views_pass_with_the_source_or_by_themselves():
    """BatchNormalization sees all rows in joint passes, source and both views of the target in separate ones."""
    x, y = views()
    for passes, groups in (("joint", [list(x)]), ("separate", [["source"], ["target_weak", "target_strong"]])):
        norm = keras.layers.BatchNormalization(center=False, scale=False)
        encoder = keras.Sequential([keras.Input((2,)), norm])
        head = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
        outputs = kt.models.AdaMatch(encoder, head, passes=passes)(x, training=True)
        names = {"source": "prediction", "target_weak": "weak", "target_strong": "strong"}
        for group in groups:
            rows = np.concatenate([x[name] for name in group])
            for name in group:
                expected = (x[name] - rows.mean(0)) / np.sqrt(rows.var(0) + norm.epsilon)
                np.testing.assert_allclose(outputs[names[name]], expected, atol=1e-4)


def test_the_gradient_reaches_the_strong_view_alone():
    import tensorflow as tf

    x, y = views()
    networks = toy.networks()
    model = kt.models.AdaMatch(networks["encoder"], networks["head"], threshold=0.5)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = {name: tf.constant(rows) for name, rows in x.items()}
    with tf.GradientTape() as tape:
        tape.watch(x)
        consistency = model.loss_terms(x, y, model(x, training=True))["consistency"]
    found = tape.gradient(consistency, x, unconnected_gradients="zero")
    assert np.abs(found["target_strong"]).max() > 0
    assert np.abs(found["target_weak"]).max() == np.abs(found["source"]).max() == 0


def test_views_of_different_rows_are_refused():
    x, _ = views()
    networks = toy.networks()
    x["target_strong"] = x["target_strong"][:12]
    with pytest.raises(ValueError, match="Expected `target_weak` and `target_strong` with rows of one shape"):
        kt.models.AdaMatch(networks["encoder"], networks["head"])(x)


@pytest.mark.parametrize("change", [{"threshold": 0.0}, {"threshold": 1.1}, {"consistency_weight": -1.0}])
def test_numbers_out_of_range(change):
    networks = toy.networks()
    with pytest.raises(ValueError, match=f"`{next(iter(change))}`"):
        kt.models.AdaMatch(networks["encoder"], networks["head"], **change)


@pytest.mark.parametrize("method", [kt.models.AdaMatch, kt.models.SelfEnsembling])
def test_one_logit_has_no_classes(method):
    x, y = views()
    head = keras.Sequential([keras.Input((toy.DIM,)), keras.layers.Dense(1)])
    model = method(toy.networks()["encoder"], head)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    with pytest.raises(ValueError, match="at least 2 classes"):
        model.train_on_batch(x, y)
