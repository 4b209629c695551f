import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS, views


def data(rows, seed=0):
    """Rows whose class is the sign of their first feature."""
    (x, _), (first, _) = views(rows, seed)
    return first, (first[:, 0] > 0).astype("int32")


def test_probes_write_into_the_logs_that_later_callbacks_read():
    model = METHODS["SimCLR"].make()
    model.optimizer.learning_rate = 0.0  # nothing to gain
    stop = keras.callbacks.EarlyStopping("knn_accuracy", mode="max", patience=0)
    probes = [kt.callbacks.KNNProbe(*data(60), *data(40, 1)), kt.callbacks.LinearProbe(*data(60), *data(40, 1))]
    history = model.fit(views(12)[0][0], batch_size=6, epochs=5, verbose=0, callbacks=[*probes, stop]).history
    assert len(history["knn_accuracy"]) == len(history["loss"]) == 2
    features = model.predict(data(60)[0], verbose=0), model.predict(data(40, 1)[0], verbose=0)
    expected = kt.metrics.knn_accuracy(features[0], data(60)[1], features[1], data(40, 1)[1])
    assert history["knn_accuracy"][-1] == expected
    assert 0.5 < history["linear_accuracy"][-1] <= 1.0


def test_epochs_between_probes_repeat_the_last_number():
    model = METHODS["SimCLR"].make()
    model.optimizer.learning_rate = 10.0
    probe = kt.callbacks.LinearProbe(*data(60), *data(200, 1), every=2)
    history = model.fit(views(12)[0][0], batch_size=6, epochs=6, verbose=0, callbacks=[probe]).history
    first, *rest = history["linear_accuracy"]
    assert rest[0] != first or rest[2] != rest[0]  # it moves
    assert rest[0] == rest[1] and rest[2] == rest[3]


def test_labels_are_checked():
    x, y = data(10)
    with pytest.raises(ValueError, match="as many integer labels; received 10 and 9"):
        kt.callbacks.KNNProbe(x, y[:9], x, y)
    with pytest.raises(ValueError, match="`y_validation` .rows,. of integer labels; received float64 of shape"):
        kt.callbacks.LinearProbe(x, y, x, y.astype("float64"))
    with pytest.raises(ValueError, match="labels of at least 2 classes in `y`; received 1 alone"):
        kt.callbacks.LinearProbe(x, np.ones_like(y), x, y)


PROBES = pytest.mark.parametrize("probe", [kt.callbacks.KNNProbe, kt.callbacks.LinearProbe])


@PROBES
def test_images_are_checked(probe):
    x, y = data(10)
    with pytest.raises(ValueError, match=r"of one structure and shape; received \(8,\) and \(7,\)"):
        probe(x, y, x[:, 1:], y)
    with pytest.raises(ValueError, match="`x` and `x_validation` of the same value range; received"):
        probe(x, y, 255 * x, y)
    probe(x, y, 255 * x, y, check_range=False)
    with pytest.raises(ValueError, match="`every` to be an integer of at least 1; received 0"):
        probe(x, y, x, y, every=0)
    with pytest.raises(ValueError, match="`k` to be an integer of at least 1; received 0"):
        kt.callbacks.KNNProbe(x, y, x, y, k=0)


@PROBES
def test_lists_are_arrays(probe):
    x, y = data(40)
    model, found = METHODS["SimCLR"].make(), []
    for parts in ((x, y), (x.tolist(), y.tolist())):
        one = probe(*parts, *parts)
        one.set_model(model)
        one.on_epoch_end(0, logs := {})
        found += logs.values()
    assert found[0] == found[1]


def test_nan_stops_training_and_names_the_step():
    """Keras's own callback; named in the README. Arrays would be refused, batches of a generator are not looked at."""
    model = METHODS["SimCLR"].make()
    x = views(12)[0][0]
    x["view_1"][8:] = np.nan
    stop = keras.callbacks.TerminateOnNaN(raise_error=True)
    batches = (({view: rows[at : at + 3] for view, rows in x.items()},) for at in range(0, 12, 3))
    with pytest.raises(RuntimeError, match="batch 2"):
        model.fit(batches, verbose=0, callbacks=[stop])
