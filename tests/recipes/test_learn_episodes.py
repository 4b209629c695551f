import json

import numpy as np
import pytest

from recipes import learn_episodes
from tests.recipes.folders import folders

ARMS = {"prototypical", "matching", *learn_episodes.FROZEN, "pixels"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of every arm on letters."""
    folder = tmp_path_factory.mktemp("run")
    config = learn_episodes.Config(
        seeds=(0,),
        steps=4,
        ways=20,
        queries=2,
        test_episodes=30,
        **folders(folder),
    )
    return folder, learn_episodes.main(config)


def test_record_names_every_arm_and_its_protocol(run):
    folder, record = run
    assert set(record["tests"]) == ARMS
    written = json.loads((folder / "results/learn_episodes/glyphs_1.json").read_text())
    assert written["tests"] == record["tests"]
    for arm, runs in record["tests"].items():
        assert [tested["seed"] for tested in runs] == [0]
        for tested in runs:
            sizes = [(report["protocol"]["ways"], report["protocol"]["shots"]) for report in tested["reports"]]
            assert sizes == [*learn_episodes.SIZES]
            for report in tested["reports"]:
                assert report["episodes"] == 30 and report["transductive"] is False
                assert 1 / report["protocol"]["ways"] < report["accuracy"] < 1
                assert report["protocol"]["batch_norm"] == ("none" if arm == "pixels" else "moving averages")


def test_draws_its_pictures(run):
    from matplotlib.image import imread

    (drawn,) = (run[0] / "runs").iterdir()
    for name in ("episode", "embedding", "accuracy", "shots", "curves"):
        assert imread(drawn / f"{name}.png").shape[0] > 200


def test_export_answers_any_way_and_shot(run):
    import tensorflow as tf

    (version,) = (run[0] / "saved_models/learn_episodes").iterdir()
    assert run[1]["export"]["differences"]["classify_episode"] <= 1e-5
    serve = tf.saved_model.load(str(version)).signatures
    _, _, (images, _) = learn_episodes.load(learn_episodes.Config())
    answers = serve["classify_episode"](support=images[:6], labels=np.int32([0, 1, 2, 3, 0, 1]), query=images[6:9])
    assert answers["probabilities"].shape == (3, 4)
    assert 0 < run[1]["unknown_distance"] < 1e9


def test_classes_are_apart():
    """No letter of the test or of the calibration is trained on; every class has enough examples."""
    parts = learn_episodes.load(learn_episodes.Config())
    seen = [{image.tobytes() for image in images} for images, _ in parts]
    assert not seen[0] & seen[2] and not seen[1] & seen[2]
    for images, labels in parts:
        assert images.shape[1:] == (28, 28, 1) and np.bincount(labels).min() >= 20
    assert parts[2][1].max() + 1 == len(np.unique(parts[2][1])) > 80


def test_turned():
    images, labels = learn_episodes.turned(np.arange(8, dtype="uint8").reshape(2, 2, 2, 1), np.array([0, 1]))
    np.testing.assert_array_equal(labels, [0, 4, 1, 5, 2, 6, 3, 7])
    np.testing.assert_array_equal(images[2, ..., 0], [[1, 3], [0, 2]])  # a quarter against the clock


def test_linear_head_is_fine_tuned_in_each_episode():
    """On one-hot features of the classes, the head has to learn which is which."""
    data = np.repeat(np.eye(8, dtype="float32"), 20, axis=0), np.repeat(np.arange(8), 20)
    config = learn_episodes.Config()
    (report,) = learn_episodes.measure(config, "linear_head", 0, data, [(5, 1, 5, 20)], 3.0)
    assert report.mean == 1.0


def test_bad_input():
    with pytest.raises(ValueError, match="`backbone` hub:<folder or handle> or mobilenet:<file> for PACS; received ''"):
        learn_episodes.main(learn_episodes.Config(data="pacs"))
    with pytest.raises(ValueError, match="`steps` in hundreds; received 150"):
        learn_episodes.main(learn_episodes.Config(steps=150))
