import pytest

from keras_transfer.recipes import episodes, maml_letters
from tests.recipes.runs import check_run, folders, served


def test_a_short_run(tmp_path):
    config = maml_letters.Config(seeds=(0,), steps=2, tasks=2, test_episodes=20, **folders(tmp_path))
    record = maml_letters.main(config)
    version = check_run(tmp_path, "maml_letters", "letters", record, ("episode", "accuracy", "curves"))
    assert set(record["tests"]) == {"maml", "pixels"}
    for (tested,) in record["tests"].values():
        (report,) = tested["reports"]
        assert report["transductive"] is False and report["episodes"] == 20 and 0 <= report["accuracy"] <= 1
        assert (report["protocol"]["ways"], report["protocol"]["shots"]) == (5, 1)
    assert record["export"]["differences"]["adapt_and_classify"] <= 1e-4
    _, _, (images, labels) = episodes.load()
    answers = served(version, "adapt_and_classify")(support=images[:8], labels=labels[:8] % 5, query=images[8:11])
    assert answers["probabilities"].shape == (3, 5)


def test_steps_come_in_five_hundreds():
    with pytest.raises(ValueError, match="`steps` in five hundreds if more than that; received 1200"):
        maml_letters.main(maml_letters.Config(steps=1200))
