import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy


def another(outputs=2):
    """One more network from features, with the same weights whenever it is made."""
    dense = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    return keras.Sequential([keras.Input((toy.DIM if outputs == 2 else 2 * toy.DIM,)), dense])


METHODS = {
    "TargetTerms": lambda encoder, head, discriminator, **kw: kt.models.TargetTerms(encoder, head, **kw),
    "DANN": kt.models.DANN,
    "CDAN": lambda encoder, head, discriminator, **kw: kt.models.CDAN(encoder, head, another(1), **kw),
    "WDGRL": lambda encoder, head, discriminator, **kw: kt.models.WDGRL(
        encoder, head, discriminator, penalty_weight=0.0, **kw
    ),
    "MCD": lambda encoder, head, discriminator, **kw: kt.models.MCD(encoder, head, another(), **kw),
    "MDD": lambda encoder, head, discriminator, **kw: kt.models.MDD(encoder, head, another(), **kw),
    "DAN": lambda encoder, head, discriminator, **kw: kt.models.DAN(encoder, head, **kw),
    "JAN": lambda encoder, head, discriminator, **kw: kt.models.JAN(encoder, head, **kw),
    "DeepJDOT": lambda encoder, head, discriminator, **kw: kt.models.DeepJDOT(encoder, head, **kw),
    "DeepCORAL": lambda encoder, head, discriminator, **kw: kt.models.DeepCORAL(encoder, head, **kw),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def step(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model.train_on_batch(*toy.batch(), return_dict=True)


@each_method
def test_terms_go_with_any_method(method):
    """Each is logged under its name, and the loss grows by it times its weight."""
    networks = toy.networks()
    terms = {"mcc": (kt.losses.MCC(), 0.5), "entropy": (kt.losses.prediction_entropy, 0.25)}
    plain, more = step(method(**networks)), step(method(**networks, target_terms=terms))
    logits = networks["head"](networks["encoder"](toy.batch()[0]["target"]))
    np.testing.assert_allclose(more["mcc_term"], kt.losses.mcc(logits), rtol=1e-4)
    np.testing.assert_allclose(more["entropy_term"], kt.losses.prediction_entropy(logits), rtol=1e-4)
    expected = plain["loss"] + 0.5 * more["mcc_term"] + 0.25 * more["entropy_term"]
    np.testing.assert_allclose(more["loss"], expected, rtol=1e-5)


@each_method
def test_outputs_of_every_method(method):
    x, _ = toy.batch()
    networks = toy.networks()
    outputs = method(**networks)(x)
    for domain, prediction in (("source", "prediction"), ("target", "target_prediction")):
        features = networks["encoder"](x[domain])
        np.testing.assert_allclose(outputs[domain], features, atol=1e-6)
        np.testing.assert_allclose(outputs[prediction], networks["head"](features), atol=1e-6)


@each_method
@pytest.mark.parametrize(
    "terms, message",
    [
        ({"task": (kt.losses.mcc, 1.0)}, "Expected a new name for each of `target_terms`; received 'task'"),
        ({"mcc": kt.losses.mcc}, "to be a pair of a function of logits and its weight"),
        ({"mcc": (kt.losses.MCC, 1.0)}, "to be a pair of a function of logits and its weight"),
        ({"mcc": (kt.losses.mcc, -1.0)}, "`the weight of mcc`"),
        ([("mcc", kt.losses.mcc)], "Expected `target_terms` to be a dict"),
    ],
)
def test_what_are_no_terms(method, terms, message):
    with pytest.raises(ValueError, match=message):
        method(**toy.networks(), target_terms=terms)


def test_probabilities_are_no_logits():
    networks = toy.networks()
    head = keras.Sequential([keras.Input((toy.DIM,)), keras.layers.Dense(2, "softmax")])
    with pytest.raises(ValueError, match="Expected `head` to return logits"):
        kt.models.TargetTerms(networks["encoder"], head, {"mcc": (kt.losses.mcc, 1.0)})


def test_without_terms_it_trains_on_the_source_alone():
    networks = toy.networks()
    logs = step(kt.models.TargetTerms(networks["encoder"], networks["head"]))
    assert set(logs) == {"loss", "task_term"} and logs["loss"] == pytest.approx(logs["task_term"])
