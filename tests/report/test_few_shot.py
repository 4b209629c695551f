import json

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS, episode_batch


def test_mean_and_interval():
    """4 episodes, of mean 0.6 and deviation 0.1633 (unbiased): the margin is 1.96 * 0.1633 / 2."""
    report = kt.report.FewShotReport([0.4, 0.6, 0.6, 0.8], {"ways": 5, "shots": 1, "queries": 15, "split": "test"})
    assert report.mean == pytest.approx(0.6)
    assert report.margin == pytest.approx(1.96 * np.sqrt(0.08 / 3) / 2)
    assert str(report) == "5-way 1-shot, 15 queries, inductive: 60.00 ± 16.00 % over 4 episodes; split: test"


def test_measured_episode_by_episode(tmp_path):
    model = METHODS["PrototypicalNetwork"].make()
    batches = [episode_batch(seed=seed, shots=2, queries=3)[0] for seed in range(3)]
    report = kt.report.FewShotReport.measure(model, batches, transductive=True, data="toy")
    expected = [
        (model.predict(x, verbose=0)["prediction"].argmax(-1)[e] == y[e]).mean() for x, y in batches for e in range(4)
    ]
    np.testing.assert_allclose(report.accuracies, expected)
    assert report.protocol == {"ways": 3, "shots": 2, "queries": 3, "data": "toy"} and report.seconds > 0
    report.write(tmp_path / "new" / "report.json")
    written = json.loads((tmp_path / "new" / "report.json").read_text())
    assert written["accuracy"] == report.mean and written["transductive"] is True and written["episodes"] == 12
    assert "transductive" in str(report) and "a second" in str(report)


def test_cached_features_give_the_same_answers():
    """An inductive encoder need not run again for every episode."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 8)).astype("float32"), np.repeat(np.arange(6), 10)
    model = METHODS["PrototypicalNetwork"].make()
    features = kt.backbones.cached_features(model.encoder, images, verbose=False)
    on_features = kt.models.PrototypicalNetwork(keras.Sequential([keras.Input((16,)), keras.layers.Identity()]))
    reports = [
        kt.report.FewShotReport.measure(
            network, kt.streams.episodes(x, labels, 3, 1, 5, episodes_per_batch=4, batches=5, seed=0)
        )
        for network, x in ((model, images), (on_features, features))
    ]
    np.testing.assert_allclose(reports[0].accuracies, reports[1].accuracies)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 2; received shape .1,."):
        kt.report.FewShotReport([0.5], {})
    with pytest.raises(ValueError, match=r"in \[0, 1\]; received 0.5 to 98.0"):
        kt.report.FewShotReport([0.5, 98], {})
    model = METHODS["PrototypicalNetwork"].make()
    with pytest.raises(ValueError, match="one size .ways, shots, queries.; received none"):
        kt.report.FewShotReport.measure(model, [])
    two = [episode_batch(shots=shots)[0] for shots in (1, 2)]
    with pytest.raises(ValueError, match=r"received \[\(3, 1, 3\), \(3, 2, 3\)\]"):
        kt.report.FewShotReport.measure(model, two)
