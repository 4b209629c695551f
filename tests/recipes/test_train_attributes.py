import keras
import numpy as np
import pytest

from keras_transfer.recipes import train_attributes
from tests.recipes.runs import check_run, folders, served

TASKS = ("script", "case", "base", "diacritic")


def test_a_short_run(tmp_path):
    """One seed: no reports, which `test_train_tasks` has."""
    config = train_attributes.Config(
        seeds=(0,), images=2256, epochs=1, batch_size=64, rates=(2e-3,), **folders(tmp_path)
    )
    record = train_attributes.main(config)
    version = check_run(tmp_path, "train_attributes", "letters", record, ("curves", "samples", "accuracy"))
    assert set(record["accuracy"]) == {*TASKS, "shared"} and record["reports"] == {}
    assert set(record["export"]["differences"]) == {*TASKS, "serving_default", "embed"}
    x, y, names = train_attributes.load(config)
    answers = served(version)(images=x["test"])
    for task in TASKS:
        accuracy = (answers[f"{task}_class_id"] == y["test"][task])[y["test"][task] >= 0].mean()
        assert accuracy == pytest.approx(record["accuracy"]["shared"][0][task], abs=2 / 1000)  # rounding
    assert record["parameters"]["shared"] < sum(record["parameters"][task] for task in TASKS) / 3


def test_labels_are_places_among_the_classes():
    x, y, names = train_attributes.load(train_attributes.Config(images=3000))
    assert {part: len(rows) for part, rows in x.items()} == {"train": 1000, "validation": 2000, "test": 1000}
    for task, classes in names.items():
        assert all(labels.min() >= -1 and labels.max() < len(classes) for labels in (y[part][task] for part in y))
    assert np.mean(y["test"]["case"] >= 0) == 1


def test_accuracies_leave_out_what_has_no_label():
    x = np.eye(3, dtype="float32")
    y = {"a": np.array([0, -1, 1]), "b": np.array([-1, 1, 2])}
    logits = keras.Input((3,))
    model = keras.Model(logits, {"a": logits, "b": logits})
    assert train_attributes.accuracies(model, ("a", "b"), x, y) == {"a": 0.5, "b": 1.0}


def test_summary_names_what_sharing_harms():
    tests = {
        "a": {0: {"a": 0.8}, 1: {"a": 0.9}},
        "b": {0: {"b": 0.5}, 1: {"b": 0.5}},
        "shared": {0: {"a": 0.9, "b": 0.4}, 1: {"a": 1.0, "b": 0.4}},
    }
    reports = {task: train_attributes.compare(tests, task) for task in "ab"}
    parameters = {"a": 30, "b": 30, "shared": 40}
    seconds = {"a": {0: 1.0, 1: 1.0}, "b": {0: 1.0, 1: 3.0}, "shared": {0: 1.0, 1: 1.0}}
    text = train_attributes.summary(reports, parameters, seconds)
    assert "Not above its single-task model: b (negative transfer)\n" in text
    assert text.endswith("Shared: 67% of the parameters of the single-task models together, 38% of their time")


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="more than 2000 `images`, which choose the rates; received 2000"):
        train_attributes.main(train_attributes.Config(images=2000))
