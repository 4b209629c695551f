import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import candidates, choose_backbone
from tests.recipes.runs import check_run, folders, served


@pytest.fixture(scope="module")
def run(tmp_path_factory, picture_folder):
    """A short run on a folder of pictures."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    kt.backbones.small_cnn((32, 32, 3), dim=8).save(folder / "tiny.keras")
    config = choose_backbone.Config(
        data=choose_backbone.Pictures(images=picture_folder, image_size=32),
        backbones=("small_cnn", f"file:{folder / 'tiny.keras'}"),
        minutes=60.0,
        candidates=1,
        folds=2,
        views=2,
        steps=2,
        **folders(folder),
    )
    return folder, config, choose_backbone.main(config)


def test_record_pictures_and_export(run, picture_folder):
    folder, config, report = run
    extra = report["extra"]
    assert set(extra["scores"]) == {"small_cnn", "file:tiny"}
    best = max(extra["scores"], key=lambda name: extra["scores"][name]["log_me"])
    arms = [f"{best}, {family}" for family in (candidates.PLAIN, candidates.VIEWS, candidates.TUNED)]
    assert list(report["runs"]) == arms and set(report["runs"][arms[0]]) == {"0", "1"}
    means = {arm: report["means"][arm]["accuracy"] for arm in arms}
    assert extra["chosen"] == max(means, key=means.get)
    assert extra["config"]["backbones"] == ["small_cnn", "file"]  # no folders of one machine
    version = check_run(folder, "choose_backbone", "letters", report, ("samples", "scores", "predictions", "report"))
    data = choose_backbone.load(config)
    outputs = served(version)(images=data.test[:])
    assert {name.decode() for name in outputs["class_name"]} <= set("ABCD")
    assert (outputs["class_id"] == data.test_labels).mean() == pytest.approx(extra["test"][extra["chosen"]])


def test_what_does_not_fit_is_said(run, capsys):
    """Fine-tuning that is expected to take too long does not begin; without it the logistic regression stays."""
    _, config, _ = run
    one = candidates.Candidate("small_cnn", None, None, np.zeros(40), None, None, 2, {})
    fold = np.arange(20), np.arange(20, 40)
    found, left_out = choose_backbone.fine_tuned(config, None, [one], [fold, fold], {"small_cnn": 3600.0}, 30.0)
    assert found == {}
    (told,) = left_out
    # Of 40 pictures, 2 views each, and 3 fits of 2 steps that cost 4 passes of 16: 464 hours, thrice.
    assert "Fine-tuning of small_cnn did not fit: it takes about 83521.0 minutes more than the 0.5" in told
    data = choose_backbone.Data(None, None, None, None, None, None, unlabelled=7)
    runs = {f"small_cnn, {family}": {0: {"accuracy": 0.5}, 1: {"accuracy": 0.6}} for family in ("a", candidates.PLAIN)}
    report = kt.report.TransferReport(runs, f"small_cnn, {candidates.PLAIN}", "accuracy")
    text = choose_backbone.verdict(config, data, report, ("small_cnn", candidates.PLAIN), left_out)
    assert text.startswith("Stay with the logistic regression: small_cnn") and told in text
    assert "7 pictures without labels were not used: `keras-transfer pretrain --images" in text


@pytest.mark.parametrize(
    ("minutes", "message"),
    [(1.0, "of at least 40; received 1.0.* 20 minutes .a 10, b 10.: not even that"), (30.0, "that alone fits")],
)
def test_a_short_budget_says_what_fits(minutes, message):
    config = choose_backbone.Config(minutes=minutes, candidates=1, views=2)
    with pytest.raises(ValueError, match=message):
        choose_backbone.check_budget(config, {"a": 6.0, "b": 6.0}, 100)
    choose_backbone.check_budget(choose_backbone.Config(minutes=40.0, candidates=1, views=2), {"a": 6.0, "b": 6.0}, 100)


def test_the_best_scores_are_candidates_and_what_costs_less_wins_ties():
    scores = {name: {"log_me": value} for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2))}
    assert candidates.shortlist(scores, 2) == ["b", "c"]
    assert candidates.recommend({"plain": 0.7, "views": 0.8, "tuned": 0.8}) == "views"


def test_folds_keep_groups_whole_and_every_class_on_the_side_that_trains():
    labels, groups = np.repeat([0, 1], 12), np.repeat(np.arange(8), 3)
    folds = candidates.folds_of(labels, groups, 3)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(24))
    for train, held_out in folds:
        assert not set(groups[train]) & set(groups[held_out]) and set(labels[train]) == {0, 1}
    assert len(candidates.folds_of(labels, None, 20)) == 12
    with pytest.raises(ValueError, match="received a class with one"):
        candidates.folds_of(np.array([0, 0, 1]), None, 3)


def test_letters_are_no_backbone_of_pictures():
    config = choose_backbone.Config(choose_backbone.Pictures(images="photos"), backbones=("letters",))
    with pytest.raises(ValueError, match="Expected `letters` without --images"):
        choose_backbone.names_of(config)
