"""What the methods on two views share: a toy problem on which each beats an untrained encoder, and bad input."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS, eagerly, views

DIM = 8
METHODS_ON_VIEWS = ("SimCLR", "SupCon", "BYOL", "SimSiam", "BarlowTwins", "VICReg")


def noisy(rows, seed):
    """Two views that share three coordinates, which tell five classes apart, and none of 29 louder ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=rows)
    centres = np.random.default_rng(0).normal(size=(5, 3))
    shared = centres[labels] + 0.1 * rng.normal(size=(rows, 3))
    mixed = np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))[0]

    def view():
        return (np.concatenate([shared, rng.normal(size=(rows, 29))], 1) @ mixed).astype("float32")

    return {"view_1": view(), "view_2": view()}, labels.astype("int32")


def make(name):
    def dense(inputs, outputs):
        return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(outputs)])

    projector = keras.Sequential([keras.Input((DIM,)), keras.layers.BatchNormalization(), keras.layers.Dense(DIM)])
    networks = [dense(32, DIM), projector]
    if name in ("BYOL", "SimSiam"):
        networks.append(dense(DIM, DIM))
    model = getattr(kt.models, name)(*networks)
    model.compile(keras.optimizers.Adam(3e-3))
    return model


@pytest.mark.parametrize("name", METHODS_ON_VIEWS)
def test_finds_what_views_share(name):
    keras.utils.set_random_seed(0)
    model, (x, labels) = make(name), noisy(2048, 2)
    (train, train_labels), (test, test_labels) = noisy(1000, 3), noisy(1000, 4)

    def accuracy():
        features = (model.predict(part["view_1"], verbose=0) for part in (train, test))
        return kt.metrics.knn_accuracy(next(features), train_labels, next(features), test_labels)

    untrained = accuracy()
    x, labels = {view: np.tile(rows, (5, 1)) for view, rows in x.items()}, np.tile(labels, 5)
    model.fit(x, labels if name == "SupCon" else None, batch_size=128, epochs=4, verbose=0)
    assert accuracy() > untrained + 0.1


@pytest.mark.parametrize("name", METHODS_ON_VIEWS)
def test_views_of_another_shape_are_refused(name):
    row = METHODS[name]
    x, y = row.batch
    with pytest.raises(ValueError, match=r"of one shape; received \(12, 8\) and \(11, 8\)"):
        eagerly(row.make)().train_on_batch({**x, "view_2": x["view_2"][:-1]}, y)


@pytest.mark.parametrize("name", ["SimCLR", "SupCon", "BarlowTwins", "VICReg"])
def test_one_example_is_refused(name):
    row = METHODS[name]
    model = eagerly(row.make)()
    model.chunk_size = None
    x, y = (
        keras.tree.map_structure(lambda part: part[:1], row.batch[0]),
        None if row.batch[1] is None else row.batch[1][:1],
    )
    with pytest.raises(ValueError, match="at least 2 examples"):
        model.train_on_batch(x, y)


@pytest.mark.parametrize("name", ["SimCLR", "BYOL", "SimSiam", "BarlowTwins", "VICReg", "MAE", "Inpainting"])
def test_labels_are_refused_where_none_belong(name):
    row = METHODS[name]
    with pytest.raises(ValueError, match=f"without labels, which {name} does not learn from"):
        eagerly(row.make)().train_on_batch(row.batch[0], np.zeros(len(row.plain[0]), "int32"))


def test_missing_labels_are_refused():
    with pytest.raises(ValueError, match=r"integer labels \(batch,\) beside the views; received none"):
        eagerly(METHODS["SupCon"].make)().train_on_batch(views()[0][0])


@pytest.mark.parametrize("method", [kt.models.SimCLR, kt.models.SupCon])
def test_temperature_is_positive(method):
    with pytest.raises(ValueError, match="Expected `temperature` to be a finite number above 0; received 0"):
        method(keras.layers.Identity(), keras.layers.Identity(), temperature=0)
