import numpy as np
import pytest

from keras_transfer.recipes import episodes, learn_letters
from tests.recipes.runs import check_run, folders, served


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run."""
    folder = tmp_path_factory.mktemp("run")
    config = learn_letters.Config(seeds=(0,), steps=2, ways=20, queries=2, test_episodes=20, **folders(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_letters, "SIZES", ((5, 1), (20, 5)))
        return folder, learn_letters.main(config)


def test_record_and_pictures(run):
    folder, record = run
    check_run(folder, "learn_letters", "letters", record, ("episode", "embedding", "accuracy", "curves"))
    assert set(record["tests"]) == {"prototypical", "simple_shot"}
    for (tested,) in record["tests"].values():
        sizes = [(report["protocol"]["ways"], report["protocol"]["shots"]) for report in tested["reports"]]
        assert tested["seed"] == 0 and sizes == [(5, 1), (20, 5)]
        for report in tested["reports"]:
            assert report["episodes"] == 20 and report["transductive"] is False and 0 <= report["accuracy"] <= 1


def test_export_answers_any_way_and_shot(run):
    version = check_run(run[0], "learn_letters", "letters", run[1], ("episode", "embedding", "accuracy", "curves"))
    assert run[1]["export"]["differences"]["classify_episode"] <= 1e-5
    _, _, (images, _) = episodes.load()
    labels = np.int32([0, 1, 2, 3, 0, 1])
    answers = served(version, "classify_episode")(support=images[:6], labels=labels, query=images[6:9])
    assert answers["probabilities"].shape == (3, 4)
    assert 0 < run[1]["unknown_distance"] < 1e9


def test_features_that_are_the_class_are_always_right():
    data = np.repeat(np.eye(24, dtype="float32"), 20, axis=0), np.repeat(np.arange(24), 20)
    config = learn_letters.Config(test_episodes=20)
    for report in learn_letters.measure(config, 0, data, {"data": "one-hot"}):
        assert report.mean == 1.0 and report.protocol["data"] == "one-hot"


def test_steps_come_in_hundreds():
    with pytest.raises(ValueError, match="`steps` in hundreds; received 150"):
        learn_letters.main(learn_letters.Config(steps=150))
