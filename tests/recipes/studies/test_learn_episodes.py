import numpy as np
import pytest

from keras_transfer.recipes import episodes
from keras_transfer.recipes.studies import learn_episodes
from tests.recipes.runs import check_run, folders


def test_a_short_run(tmp_path, monkeypatch):
    """One method beside all baselines, on fewer sizes of episodes."""
    monkeypatch.setitem(learn_episodes.TESTS, "glyphs", ((5, 1), (20, 5)))
    monkeypatch.setattr(learn_episodes, "SHOTS", (1, 10))
    settings = {"method": ("matching",), "seeds": (0,), "steps": 2, "ways": 20, "queries": 2, "test_episodes": 20}
    record = learn_episodes.main(learn_episodes.Config(**settings, **folders(tmp_path)))
    pictures = ("episode", "embedding", "accuracy", "shots", "curves")
    check_run(tmp_path, "learn_episodes", "glyphs_1", record, pictures)
    assert set(record["tests"]) == {"matching", *learn_episodes.FROZEN, "pixels"}
    for arm, runs in record["tests"].items():
        assert [tested["seed"] for tested in runs] == [0] and len(record["by_shots"][arm]) == len(learn_episodes.SHOTS)
        for tested in runs:
            sizes = [(report["protocol"]["ways"], report["protocol"]["shots"]) for report in tested["reports"]]
            assert sizes == [(5, 1), (20, 5)]
            for report in tested["reports"]:
                assert report["episodes"] == 20 and report["transductive"] is False and 0 <= report["accuracy"] <= 1
                assert report["protocol"]["batch_norm"] == ("none" if arm == "pixels" else "moving averages")
    penalties = [report["protocol"]["penalty"] for report in record["tests"]["logistic_regression"][0]["reports"]]
    assert set(penalties) <= set(episodes.PENALTIES)
    assert record["export"]["differences"]["classify_episode"] <= 1e-5


@pytest.mark.parametrize("arm", ["prototypical", "matching", *learn_episodes.FROZEN, "pixels"])
def test_features_that_are_the_class_are_always_right(arm):
    data = np.repeat(np.eye(8, dtype="float32"), 20, axis=0), np.repeat(np.arange(8), 20)
    (report,) = learn_episodes.measure(learn_episodes.Config(), arm, 0, data, [(5, 1, 5, 20)], data)
    assert report.mean == 1.0


def test_a_backbone_s_features_take_one_layer():
    encoder = learn_episodes.build(learn_episodes.Config(data="pacs"))
    assert encoder.output_shape == (None, 256)
    features = np.ones((2, 1024), "float32"), np.arange(2)
    assert learn_episodes.features(encoder, features)[0].shape == (2, 256)  # and no turns


def test_bad_input():
    with pytest.raises(ValueError, match="`backbone` hub:<folder or handle> or mobilenet:<file> for PACS; received ''"):
        learn_episodes.main(learn_episodes.Config(data="pacs"))
    with pytest.raises(ValueError, match="`steps` in hundreds; received 150"):
        learn_episodes.main(learn_episodes.Config(steps=150))
