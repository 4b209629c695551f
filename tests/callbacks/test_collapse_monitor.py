import warnings

import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS, views


def fit(model, monitor, epochs=2):
    return model.fit(views()[0][0], batch_size=6, epochs=epochs, verbose=0, callbacks=[monitor]).history


def test_logs_are_those_of_the_features():
    model, x = METHODS["SimCLR"].make(), views(50, seed=3)[0][0]
    history = fit(model, kt.callbacks.CollapseMonitor(x))
    first, second = (model.predict(view, verbose=0) for view in x.values())
    assert history["embedding_std"][-1] == kt.metrics.embedding_std(first)
    assert history["effective_rank"][-1] == kt.metrics.effective_rank(first)
    assert history["uniformity"][-1] == kt.metrics.uniformity(first)
    assert history["alignment"][-1] == kt.metrics.alignment(first, second)


def test_images_alone_have_no_alignment():
    history = fit(METHODS["SimCLR"].make(), kt.callbacks.CollapseMonitor(views(50)[1][0]))
    assert "embedding_std" in history and "alignment" not in history


def test_collapse_warns_once_and_says_what_helps():
    model = METHODS["SimSiam"].make()
    kernel, bias = model.encoder.get_weights()
    model.encoder.set_weights([0 * kernel, bias + 1])  # one point for all images
    model.optimizer.learning_rate = 0.0
    with pytest.warns(UserWarning, match="after epoch 1 .*What helps") as caught:
        fit(model, kt.callbacks.CollapseMonitor(views(50)[1][0]), epochs=3)
    assert len([w for w in caught if "collapsed" in str(w.message)]) == 1


def test_no_warning_without_collapse():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(METHODS["SimCLR"].make(), kt.callbacks.CollapseMonitor(views(50)[1][0]))


def test_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 2 images to see a spread; received 1"):
        kt.callbacks.CollapseMonitor(np.ones((1, 8)))


def test_views_are_two():
    x = views(4)[0][0]
    with pytest.raises(ValueError, match="a dict of .'view_1', 'view_2'.; received one of .'view_1',."):
        kt.callbacks.CollapseMonitor({"view_1": x["view_1"]})
    with pytest.raises(ValueError, match="received a batch with labels: pass its `.0.`"):
        kt.callbacks.CollapseMonitor((x, np.arange(4)))
    with pytest.raises(ValueError, match="arrays of one length in `x`; received lengths .3, 4."):
        kt.callbacks.CollapseMonitor({**x, "view_2": x["view_2"][:3]})
