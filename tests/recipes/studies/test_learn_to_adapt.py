import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes.studies import learn_to_adapt
from tests.recipes.runs import check_run, folders


def test_a_short_run(tmp_path):
    settings = {"mirrored": True, "jitter": True, "seeds": (0,), "steps": 2, "tasks": 2, "test_episodes": 20}
    config = learn_to_adapt.Config(method="anil", **settings, **folders(tmp_path))
    record = learn_to_adapt.main(config)
    check_run(tmp_path, "learn_to_adapt", "glyphs_anil", record, ("episode", "curves"))
    (tested,) = record["tests"]["anil"]
    (report,) = tested["reports"]
    assert report["transductive"] is False and report["episodes"] == 20 and 0 <= report["accuracy"] <= 1
    assert report["protocol"]["batch_norm"] == "moving averages" and report["protocol"]["train_jitter"] is True
    assert record["export"]["differences"]["adapt_and_classify"] <= 1e-4


@pytest.mark.parametrize(
    "method, name", [("maml", "MAML"), ("fomaml", "MAML"), ("reptile", "Reptile"), ("anil", "ANIL")]
)
def test_every_method_is_built(method, name):
    model = learn_to_adapt.build(learn_to_adapt.Config(method=method, statistics="batch"))
    assert type(model).__name__ == name
    assert model.get_config().get("first_order", False) is (method == "fomaml")
    assert np.prod(model(np.zeros((2, 28, 28, 1), "uint8")).shape) == 10


def test_jitter_changes_images_alone():
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1)).astype("uint8")
    stream = kt.streams.episodes(images, np.repeat(np.arange(4), 10), 2, 1, 1, batches=1, seed=0)
    (before, y), (after, same) = (next(iter(s)) for s in (stream, learn_to_adapt.jittered(stream)))
    np.testing.assert_array_equal(y, same)
    np.testing.assert_array_equal(before["support"][1], after["support"][1])
    for a, b in ((before["query"], after["query"]), (before["support"][0], after["support"][0])):
        assert a.shape == b.shape and not np.array_equal(a, b)


def test_bad_input():
    with pytest.raises(ValueError, match="`steps` in five hundreds if more than that; received 1200"):
        learn_to_adapt.main(learn_to_adapt.Config(steps=1200))
