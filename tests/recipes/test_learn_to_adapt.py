import json

import numpy as np
import pytest

from recipes import learn_episodes, learn_to_adapt
from tests.recipes.folders import folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on letters."""
    folder = tmp_path_factory.mktemp("run")
    config = learn_to_adapt.Config(
        seeds=(0,),
        steps=3,
        tasks=2,
        test_episodes=20,
        **folders(folder),
    )
    return folder, config, learn_to_adapt.main(config)


def test_record_pictures_and_export(run):
    import tensorflow as tf
    from matplotlib.image import imread

    folder, config, record = run
    written = json.loads((folder / f"results/learn_to_adapt/glyphs_{config.method}.json").read_text())
    assert written["tests"] == record["tests"] and set(written["tests"]) == {config.method}
    ((report,),) = [tested["reports"] for tested in record["tests"][config.method]]
    assert report["transductive"] is False and report["episodes"] == 20 and 0 < report["accuracy"] < 1
    assert report["protocol"]["batch_norm"] == "support" and report["protocol"]["shots"] == 1
    (drawn,) = (folder / "runs").iterdir()
    for name in ("episode", "curves"):
        assert imread(drawn / f"{name}.png").shape[0] > 200
    (version,) = (folder / "saved_models/learn_to_adapt").iterdir()
    _, _, (images, labels) = learn_episodes.load(learn_episodes.Config())
    serve = tf.saved_model.load(str(version)).signatures["adapt_and_classify"]
    answers = serve(support=images[:8], labels=labels[:8] % 5, query=images[8:11])
    assert answers["probabilities"].shape == (3, 5)


@pytest.mark.parametrize("method", ["fomaml", "anil", "reptile"])
def test_every_method_is_built(method):
    model = learn_to_adapt.build(learn_to_adapt.Config(method=method, batch_norm="batch"))
    assert type(model).__name__.lower() == method.replace("fo", "")
    assert getattr(model, "first_order", False) is (method == "fomaml")
    assert np.prod(model.predict_on_batch(np.zeros((2, 28, 28, 1), "uint8")).shape) == 10


def test_bad_input():
    with pytest.raises(ValueError, match="`steps` in five hundreds if more than that; received 1200"):
        learn_to_adapt.main(learn_to_adapt.Config(steps=1200))
