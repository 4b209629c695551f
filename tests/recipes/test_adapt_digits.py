import functools

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import adapt_digits
from tests.recipes.runs import check_run, folders, served

load = functools.cache(lambda pair: adapt_digits.load(adapt_digits.Config(pair=pair)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the smallest pair."""
    folder = tmp_path_factory.mktemp("run")
    method = ("adamatch", "adda")
    config = adapt_digits.Config(pair="digits_photos", method=method, seeds=(0, 1), steps=18, **folders(folder))
    return folder, adapt_digits.main(config, lambda config: load(config.pair))


def test_record_pictures_and_export(run):
    folder, report = run
    assert set(report["runs"]) == {"source_only_plain", "source_only", "adamatch", "adda"}
    assert report["extra"]["chosen"] in report["runs"]
    assert report["extra"]["config"]["steps"] == 18
    pictures = ("samples", "embedding", "curves", "confusion", "report")
    version = check_run(folder, "adapt_digits", "digits_photos", report, pictures)
    x, y = load("digits_photos")["target_test"]
    outputs = served(version)(images=x)
    assert outputs["class_name"].shape == (len(x),)
    np.testing.assert_allclose(outputs["probabilities"].sum(-1), 1, atol=1e-5)
    accuracy = (outputs["class_id"] == y).mean()
    assert accuracy == pytest.approx(report["runs"]["adamatch"]["0"]["target_accuracy"], abs=2 / len(x))  # rounding
    assert report["extra"]["export"]["differences"]["serving_default"] <= 1e-5


def test_source_only_learns_the_source(run):
    """Chance is .1."""
    for metrics in run[1]["runs"]["source_only_plain"].values():
        assert metrics["source_accuracy"] > 0.6


def test_training_never_sees_target_labels():
    config, data = adapt_digits.Config(pair="digits_photos", steps=18), load("digits_photos")
    blind = {**data, "target": (data["target"][0], None), "target_test": (data["target_test"][0][:1], np.zeros(1))}
    model, *_ = adapt_digits.train(config, "dann", 0, blind)
    again, *_ = adapt_digits.train(config, "dann", 0, data)
    for a, b in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name, method, strength, peak",
    [
        ("dann", "DANN", "reversal", 0.3),
        ("adamatch", "AdaMatch", "consistency_weight", 1),
        ("self_ensembling", "SelfEnsembling", "consistency_weight", 3),
        ("deep_coral", "DeepCORAL", "coral_weight", 100),
        ("dan", "DAN", "mmd_weight", 1),
        ("jan", "JAN", "mmd_weight", 1),
        ("cdan", "CDAN", "reversal", 0.3),
        ("wdgrl", "WDGRL", "reversal", 0.1),
        ("mcd", "MCD", "agreement_weight", 1),
        ("mdd", "MDD", "reversal", 0.1),
        ("deep_jdot", "DeepJDOT", "transport_weight", 1),
    ],
)
def test_methods_rise_to_their_peak(name, method, strength, peak):
    ramp = functools.partial(kt.schedules.DannRamp, 400)
    model = adapt_digits.METHODS[name](adapt_digits.build(3), ramp)
    assert model(np.zeros((2, 28, 28, 3), "uint8")).shape == (2, 10)
    assert type(model).__name__ == method
    rise = [float(getattr(model, strength)(step)) for step in (0, 400)]
    np.testing.assert_allclose(rise, [0, peak], rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_differ_and_stay_in_range(channels):
    data = load("printed_handwritten" if channels == 1 else "digits_photos")["target"][0][:8]
    assert adapt_digits.views("source_only_plain", channels) is None
    for arm, names in (("dann", {"source", "target"}), ("adamatch", {"source", "target_weak", "target_strong"})):
        augment = adapt_digits.views(arm, channels)
        assert set(augment) == names
        for view in augment.values():
            first, second = (np.array(view(data)) for _ in range(2))
            assert first.shape == data.shape and first.min() >= 0 and first.max() <= 255
            assert np.abs(first - second).mean() > 1


@pytest.mark.parametrize("pair", ["printed_handwritten", "digits_photos"])
def test_test_rows_are_not_trained_on(pair):
    data = load(pair)
    for domain in ("source", "target"):
        rows = {image.tobytes() for image in data[domain][0]}
        shared = sum(image.tobytes() in rows for image in data[f"{domain}_test"][0])
        assert shared <= 2, (domain, shared)


def test_one_seed_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        adapt_digits.main(adapt_digits.Config(seeds=(0,), runs=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
