import csv
import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_transfer as kt
from keras_transfer.recipes import adapt_photos, domains
from tests.recipes.runs import check_run, folders, served

PICTURES = ("samples", "embedding", "curves")


@pytest.fixture(scope="module")
def negatives(tmp_path_factory, picture_folder):
    """The letters of `picture_folder` as negatives: three of its four classes, and a picture below no class."""
    folder = tmp_path_factory.mktemp("negatives") / "target"
    files = kt.datasets.image_files(picture_folder, 16)
    for number, (image, label) in enumerate(zip(255 - files[:], files.labels)):
        if label < 3:
            (folder / files.class_names[label]).mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(folder / files.class_names[label] / f"{number}.png", image, scale=False)
    (folder / "unlabelled").mkdir()
    keras.utils.save_img(folder / "unlabelled" / "one.png", files[0], scale=False)
    return folder


@pytest.fixture(scope="module")
def labelled(picture_folder, negatives, tmp_path_factory):
    """A short run with a backbone from a file, tested by the labels of the target."""
    folder = tmp_path_factory.mktemp("labelled")
    keras.utils.set_random_seed(0)
    small = [layers.Rescaling(1 / 255), layers.AveragePooling2D(4), layers.Flatten(), layers.Dense(8)]
    keras.Sequential([keras.Input((16, 16, 3)), *small]).save(folder / "small.keras")
    settings = {"image_size": 16, "backbone": f"file:{folder / 'small.keras'}", "method": ("dann", "deep_coral")}
    config = adapt_photos.Config(
        picture_folder, negatives, True, seeds=(0, 1), steps=3, **settings, **folders(folder / "run")
    )
    return folder / "run", adapt_photos.main(config)


@pytest.fixture(scope="module")
def unlabelled(picture_folder, negatives, tmp_path_factory):
    """A short run in which all weights train, on a target without labels."""
    folder = tmp_path_factory.mktemp("unlabelled")
    config = adapt_photos.Config(picture_folder, negatives, image_size=16, seeds=(0, 1), steps=2, **folders(folder))
    return folder, adapt_photos.main(config)


def predicted(folder):
    (run,) = (folder / "runs").iterdir()
    with open(run / "predictions.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: (row["class"], float(row["probability"])) for row in csv.DictReader(file)}


def test_a_labelled_target(labelled, negatives):
    folder, report = labelled
    check_run(folder, "adapt_photos", "letters_target", report, (*PICTURES, "confusion", "report"))
    assert set(report["runs"]) == {*adapt_photos.BASELINES, "dann", "deep_coral"}
    extra = report["extra"]
    assert extra["exported"] == max(extra["chosen_by"], key=extra["chosen_by"].get)
    assert set(extra["chosen_by"]) == {"source_only", "dann", "deep_coral"}  # regressions are no candidates
    said = predicted(folder)
    assert len(said) == 37 and "unlabelled/one.png" in said
    accuracy = np.mean([path.split("/")[0] == name for path, (name, _) in said.items() if "unlabelled" not in path])
    assert accuracy == pytest.approx(report["runs"][extra["exported"]]["0"]["target_accuracy"])
    for metrics in report["runs"].values():
        assert all(0 <= run["domain_distance"] <= 2 for run in metrics.values())


def test_the_export_answers_pictures_as_the_predictions_say(labelled, negatives):
    folder, report = labelled
    version = check_run(folder, "adapt_photos", "letters_target", report, (*PICTURES, "confusion", "report"))
    files, said = kt.datasets.image_files(negatives, 16, labelled=False), predicted(folder)
    answers = served(version)(images=files[:])
    for path, name, p in zip(files.paths, answers["class_name"], answers["probabilities"]):
        assert said[path.relative_to(negatives).as_posix()] == (name.decode(), pytest.approx(p.max(), abs=1e-4))


def test_an_unlabelled_target(unlabelled):
    folder, record = unlabelled
    check_run(folder, "adapt_photos", "letters_target", record, PICTURES)
    assert set(record["metrics"]) == {*adapt_photos.BASELINES, "mcc"} and "gains" not in record
    for runs in record["metrics"].values():
        assert [set(run) for run in runs.values()] == [set(domains_metrics())] * 2
    assert all(sum(shares.values()) == pytest.approx(1) for shares in record["predicted"].values())
    assert len(predicted(folder)) == 37


def domains_metrics():
    return "source_accuracy", "target_information", "target_confidence", "domain_distance", "seconds"


def test_what_is_said_without_labels():
    run = dict.fromkeys(domains_metrics(), 0.5)
    text = adapt_photos.unlabelled("a_b", {"dan": {0: run, 1: run | {"seconds": 1.5}}}, {"x": 0.75, "y": 0.25, "z": 0})
    assert "dan" in text and "1.000" in text and "No accuracy of the target is known" in text
    assert "information in nats, at most 1.10" in text
    assert "Predicted most: x 75 %, y 25 %, z 0 %." in text and "Never predicted: z." in text


def test_bad_input(picture_folder, negatives, tmp_path):
    def load(target, **settings):
        return adapt_photos.load(adapt_photos.Config(picture_folder, target, image_size=16, **settings))

    with pytest.raises(ValueError, match="Expected --target, a folder of pictures"):
        load(None)
    for target in (picture_folder, picture_folder / "A", picture_folder.parent):
        with pytest.raises(ValueError, match="Expected a target apart from the source"):
            load(target)
    (tmp_path / "other" / "E").mkdir(parents=True)
    keras.utils.save_img(tmp_path / "other" / "E" / "0.png", np.zeros((16, 16, 3)), scale=False)
    with pytest.raises(ValueError, match=r"received folders of others: \('E',\)"):
        load(tmp_path / "other", target_labels=True)
    (negatives / "C" / "broken.png").write_bytes(b"no picture")
    try:
        with pytest.raises(ValueError, match="1 of 38 pictures that cannot be read"):
            load(negatives)
        data, _, _ = load(negatives, target_labels=True, skip_unreadable=True)
        assert len(data["target"].labels) == 37
    finally:
        (negatives / "C" / "broken.png").unlink()
    with pytest.raises(ValueError, match="at least 2 seeds"):
        adapt_photos.main(adapt_photos.Config(seeds=(0,), runs=tmp_path / "runs"))


def test_labels_of_a_target(negatives, capsys):
    files = kt.datasets.image_files(negatives, 16, labelled=False)
    labels = adapt_photos.labels_of(files, negatives, tuple("ABCD"))
    names = ["ABCD"[label] if label >= 0 else "unlabelled" for label in labels]
    assert names == [path.parent.name for path in files.paths] and (labels == -1).sum() == 1
    assert "Classes of which the target has no picture: D" in capsys.readouterr().out


def test_training_never_sees_target_labels(labelled):
    """Labels of the target, or none, make no difference to what is trained."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (40, 6)).astype("float32"), np.arange(40) % 2
    source, target = domains.Domain(x, x, y), domains.Domain(x, x + 1, y)
    config = adapt_photos.Config(steps=2, batch_size=16)
    weights = []
    for one in (target, target._replace(labels=None)):
        arm, _ = domains.train(config, "dan", 0, {"source": source, "target": one}, 2, frozen=True)
        weights.append([weight for network in arm for weight in network.get_weights()])
    for a, b in zip(*weights):
        np.testing.assert_array_equal(a, b)


def test_each_domain_is_standardised_by_itself():
    """A target that is the source at another place and scale is the source; a regression then makes no error on it."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    x = (rng.normal(0, 1, (60, 5)) + 4 * labels[:, None]).astype("float32")
    moved = (x * [1, 2, 3, 4, 5] + 20).astype("float32")
    data = {"source": domains.Domain(x, x, labels), "target": domains.Domain(moved, moved, labels)}
    arms = domains.regressions(data)
    accuracy = {
        name: (domains.predict(arm.head, domains.predict(arm.target, moved)).argmax(-1) == labels).mean()
        for name, arm in arms.items()
    }
    right = {"logistic_regression_scaled": 1.0, "logistic_regression_coral": 1.0}
    assert accuracy == {"logistic_regression": 0.5, **right}


def test_features_that_hardly_vary_are_not_blown_up():
    features = np.float32([[0, 1, -1], [0, 1, 1], [0, 1.0001, -1], [0, 1, 1]])
    scaled = np.asarray(domains.scaling(features)(np.float32([[1, 2, 1]])))
    assert np.abs(scaled).max() < 20
    np.testing.assert_allclose(scaled[0, 2], 1, rtol=1e-4)


@pytest.mark.parametrize(
    "name, method, weight",
    [
        ("dan", "DAN", "mmd_weight"),
        ("jan", "JAN", "mmd_weight"),
        ("dann", "DANN", "reversal"),
        ("cdan", "CDAN", "reversal"),
        ("wdgrl", "WDGRL", "reversal"),
        ("mcd", "MCD", "agreement_weight"),
        ("mdd", "MDD", "reversal"),
        ("deep_coral", "DeepCORAL", "coral_weight"),
        ("deep_jdot", "DeepJDOT", "transport_weight"),
    ],
)
def test_methods_rise_to_their_peak(name, method, weight):
    for frozen, peak in zip((True, False), domains.PEAKS[name]):
        model = domains.make(name, *domains.build((6,), 3), functools.partial(kt.schedules.DannRamp, 400), frozen)
        assert type(model).__name__ == method
        rise = [float(getattr(model, weight)(step)) for step in (0, 400)]
        np.testing.assert_allclose(rise, [0, peak], rtol=1e-3)


def test_settings_of_pictures_are_those_of_own_pictures():
    """The options have the defaults that every recipe has."""
    ours = {field.name: field.default for field in dataclasses.fields(adapt_photos.Config)}
    options = dataclasses.fields(adapt_photos.own_pictures.Options)
    shared = {field.name: field.default for field in options if field.name in ours}
    assert len(shared) >= 8 and shared == {name: ours[name] for name in shared}


def test_digits_are_there_without_folders():
    data, classes, backbone = adapt_photos.load(adapt_photos.Config())
    assert backbone is None and classes == tuple("0123456789") and json.dumps(classes)
    assert {name: part.rows.shape[1:] for name, part in data.items()} == dict.fromkeys(data, (28, 28, 1))


@pytest.mark.parametrize(
    "scores, chosen",
    [
        ({"source_only": 1.0, "mcc": 1.2, "dan": 1.1}, "mcc"),
        ({"source_only": 1.3, "mcc": 1.2}, "source_only"),
        ({"source_only": 1.0, "mcc": 1.2, "information": 1.5, "shot": 1.6}, "mcc"),  # trained on the score
        ({"source_only": 1.0, "information": 1.5}, "information"),  # there is no other
        ({"source_only_plain": 1.0, "source_only": 0.9, "shot": 1.5}, "shot"),
    ],
)
def test_the_score_is_no_judge_of_what_is_trained_on_it(scores, chosen):
    assert domains.choose(scores) == chosen
