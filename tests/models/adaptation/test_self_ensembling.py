import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy
from tests.models.adaptation.test_adamatch import views


def made(**arguments):
    networks = toy.networks()
    model = kt.models.SelfEnsembling(networks["encoder"], networks["head"], **arguments)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    return model


def test_terms_by_hand():
    x, y = views()
    model = made(consistency_weight=0.7)
    model.teacher_head.set_weights([2 * w for w in model.head.get_weights()])  # the teacher is another network
    source, strong = (model.head(model.encoder(x[name])).numpy() for name in ("source", "target_strong"))
    taught = oracles.softmax(model(x["target_weak"]).numpy().astype("float64"))  # what is served is the teacher's
    model.threshold = float(np.median(taught.max(1)))
    sure = taught.max(1) > model.threshold
    assert 0 < sure.sum() < len(sure)
    consistency = (sure * ((oracles.softmax(strong) - taught) ** 2).sum(1)).mean()
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["task_term"], toy.cross_entropy(y, source), rtol=1e-5)
    np.testing.assert_allclose(logs["consistency_term"], consistency, rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], logs["task_term"] + 0.7 * consistency, rtol=1e-5)
    np.testing.assert_allclose(logs["share_sure"], sure.mean(), rtol=1e-6)


def test_the_teacher_follows_at_its_momentum_and_learns_by_no_gradient():
    x, y = views()
    model = made(momentum=0.75)
    teacher, students = model.teacher_encoder.get_weights(), []
    for _ in range(2):
        students.append(model.encoder.get_weights())
        model.train_on_batch(x, y)  # it moves towards the weights that the batch was computed with
        teacher = [0.75 * old + 0.25 * new for old, new in zip(teacher, students[-1])]
        for found, expected in zip(model.teacher_encoder.get_weights(), teacher):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(*students))
    trained = {id(v) for v in model.trainable_variables}
    assert not trained & {id(v) for v in model.teacher_encoder.variables + model.teacher_head.variables}


def test_the_teacher_has_the_statistics_of_the_target():
    x, y = views()
    norm = keras.layers.BatchNormalization(momentum=0.0)  # the averages are those of the last batch
    encoder = keras.Sequential([keras.Input((2,)), norm])
    model = kt.models.SelfEnsembling(encoder, keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.train_on_batch(x, y)
    np.testing.assert_allclose(model.teacher_encoder.layers[-1].moving_mean, x["target_weak"].mean(0), rtol=1e-4)


@pytest.mark.parametrize("change", [{"momentum": 1.1}, {"threshold": -0.1}, {"consistency_weight": -1.0}])
def test_numbers_out_of_range(change):
    with pytest.raises(ValueError, match=f"`{next(iter(change))}`"):
        made(**change)
