import json
import pathlib
import sys
import tempfile

import numpy as np
import pytest

from keras_transfer.report.transfer import Gain, TransferReport, paired_gain

BASELINE = {0: 0.61, 1: 0.64, 2: 0.60}


def arm(scores, seconds=10.0):
    return {seed: {"target_accuracy": score, "seconds": seconds + seed} for seed, score in scores.items()}


def report(**methods):
    """A report of methods, each given by its gains over the baseline on seeds 0, 1, 2."""
    runs = {name: arm({s: BASELINE[s] + g for s, g in enumerate(gains)}) for name, gains in methods.items()}
    return TransferReport({"source-only": arm(BASELINE), **runs}, "source-only")


@pytest.fixture(scope="module")
def three():
    return report(DANN=(0.17, 0.19, 0.18), CORAL=(0.01, -0.02, 0.02), DAN=(-0.05, -0.06, -0.055))


# Quantiles of Student's t at 0.975 as printed in textbook tables, by degrees of freedom.
@pytest.mark.parametrize("seeds, quantile", [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_interval_by_hand(seeds, quantile):
    gains = [0.1 + 0.01 * (seed % 3) for seed in range(seeds)]
    mean = sum(gains) / seeds
    deviation = (sum((g - mean) ** 2 for g in gains) / (seeds - 1)) ** 0.5
    margin = quantile * deviation / seeds**0.5
    got = paired_gain([0.5 + g for g in gains], [0.5] * seeds)
    # The tables are rounded to 5e-4; the largest deviation / sqrt(seeds) here is 0.005.
    np.testing.assert_allclose(got[:3], [mean, mean - margin, mean + margin], atol=5e-6)


def test_interval_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    method, baseline = rng.uniform(size=(2, 7))
    expected = stats.ttest_rel(method, baseline).confidence_interval(0.95)
    got = paired_gain(method, baseline)
    np.testing.assert_allclose([got.low, got.high], [expected.low, expected.high], rtol=1e-9)


def test_pairs_by_seed_not_by_order():
    runs = {"source-only": arm({0: 0.1, 1: 0.9}), "DANN": arm({1: 0.95, 0: 0.15})}
    gain = TransferReport(runs, "source-only").gain("DANN")
    np.testing.assert_allclose(gain, [0.05] * 3 + [0.01])  # the same gain on both seeds: an interval of no width


def test_verdicts(three):
    assert {m: three.gain(m).verdict for m in three.methods} == {
        "DANN": "gain",
        "CORAL": "inconclusive",  # mean 0.3 points, margin 4.303 * 2.08 / sqrt(3) = 5.2
        "DAN": "negative transfer",
    }


def test_equal_scores_are_no_difference():
    assert report(DANN=(0.0, 0.0, 0.0)).gain("DANN").verdict == "no difference"


def test_two_seeds_far_apart_say_nothing():
    runs = {"plain": arm({0: 0.90, 1: 0.90}), "DANN": arm({0: 0.645, 1: 0.835})}
    far = TransferReport(runs, "plain")
    # Gains -25.5 and -6.5: mean -16, deviation 13.4, half an interval 12.706 * 13.4 / sqrt(2) = 120.7.
    assert far.sentence("DANN").startswith("DANN: inconclusive, -16.0 [-136.7, +104.7] points")
    assert far.to_dict()["gains"]["DANN"]["verdict"] == "inconclusive"
    assert "inconclusive" in far.draw().axes[0].get_title()


@pytest.mark.parametrize(
    "low, high, margin, verdict",
    [
        (0.001, 0.2, 0.01, "gain"),
        (0.001, 0.002, 0.01, "gain"),  # small, and there
        (-0.2, -0.001, 0.01, "negative transfer"),
        (-0.01, 0.01, 0.01, "no difference"),
        (-0.002, 0.009, 0.01, "no difference"),
        (0.0, 0.0, 0.0, "no difference"),
        (-0.011, 0.01, 0.01, "inconclusive"),
        (-0.01, 0.011, 0.01, "inconclusive"),
        (-1.37, 1.05, 0.01, "inconclusive"),
        (-0.001, 0.001, None, "inconclusive"),
        (0.0, 0.2, 0.01, "inconclusive"),
    ],
)
def test_four_verdicts(low, high, margin, verdict):
    assert Gain((low + high) / 2, low, high, margin).verdict == verdict


def test_margins():
    """One point of accuracy unless another is stated; none of other metrics."""
    gains = {"a": (0.01, 0.02, 0.0), "b": (0.0, 0.001, 0.002)}  # half intervals of 2.5 and 0.25 points
    runs = {"plain": arm(BASELINE), **{m: arm({s: BASELINE[s] + g for s, g in enumerate(gains[m])}) for m in gains}}

    def verdicts(*names, **kwargs):
        found = TransferReport(runs, "plain", **kwargs)
        assert TransferReport.load(saved(found)).margin == found.margin
        return [found.gain(name).verdict for name in names]

    def saved(found):
        found.write(path)
        return path

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "report.json"
        assert verdicts("a", "b") == ["inconclusive", "no difference"]
        assert verdicts("a", "b", margin=0.04) == ["no difference", "no difference"]
        assert verdicts("a", "b", margin=0.003) == ["inconclusive", "inconclusive"]
        assert verdicts("a", metric="seconds") == ["inconclusive"]
        assert verdicts("a", metric="seconds", margin=0) == ["no difference"]
    for wrong in (-0.1, float("nan"), "1"):
        with pytest.raises(ValueError, match="Expected `margin` to be a finite number of at least 0; received"):
            TransferReport(runs, "plain", margin=wrong)


def test_the_margin_is_said():
    runs = {"plain": arm(BASELINE), "ours": arm(BASELINE)}
    stated = TransferReport(runs, "plain", margin=0.02)
    assert "No difference: the interval lies within ±2 points; inconclusive: it reaches further." in str(stated)
    assert "within ±2 points" in stated.draw().get_supxlabel() and stated.to_dict()["margin"] == 0.02
    assert "No margin of no difference is stated" in str(TransferReport(runs, "plain", metric="seconds"))


def test_a_record_of_before_has_the_margin_of_its_metric(tmp_path):
    old = report(DANN=(0.01, -0.02, 0.02)).to_dict()
    del old["margin"]
    old["gains"]["DANN"]["verdict"] = "no difference"
    (tmp_path / "report.json").write_text(json.dumps(old))
    loaded = TransferReport.load(tmp_path / "report.json")
    assert loaded.margin == 0.01 and loaded.gain("DANN").verdict == "inconclusive"


def test_the_better_baseline_is_the_baseline():
    better = {seed: score + 0.03 for seed, score in BASELINE.items()}
    dann = {seed: score + 0.10 for seed, score in BASELINE.items()}
    runs = {"plain": arm(BASELINE), "BatchNorm": arm(better), "DANN": arm(dann)}
    both = TransferReport(runs, ["plain", "BatchNorm"])
    assert both.baseline == "BatchNorm" and both.methods == ["DANN"]
    assert both.gain("DANN").mean == pytest.approx(0.07)


def test_table(three):
    lines = str(three).splitlines()
    header, _, baseline, dann, coral, dan = lines[:6]
    assert "target accuracy (%)" in header and "time (s)" in header
    # (61 + 64 + 60) / 3 = 61.67; deviations -0.67, 2.33, -1.67: sqrt(8.67 / 2) = 2.08. Seconds 10, 11, 12.
    assert baseline.split() == ["source-only", "*", "61.7", "±", "2.1", "11.0", "±", "1.0"]
    # Gains 17, 19, 18: mean 18, deviation 1, margin 4.303 / sqrt(3) = 2.48.
    assert "79.7 ± " in dann and "+18.0 [+15.5, +20.5] points" in dann and dann.endswith("  gain")
    assert coral.endswith("inconclusive") and dan.endswith("negative transfer")
    assert len({len(line) for line in (header, dann, coral, dan)}) == 1
    assert "DANN: gain, +18.0 [+15.5, +20.5] points in target accuracy over source-only." in lines
    assert any(line.startswith("DAN: negative transfer, -5.5 ") for line in lines)


def test_other_metrics_are_shown_as_they_are():
    runs = {"plain": {0: {"reward": 120.0}, 1: {"reward": 140.0}}, "ours": {0: {"reward": 150.0}, 1: {"reward": 170.0}}}
    text = str(TransferReport(runs, "plain", metric="reward"))
    assert "ours: gain, +30 [+30, +30] in reward over plain." in text and "%)" not in text


def test_round_trip(three, tmp_path):
    extra = {"config": {"folder": tmp_path, "seeds": (0, 1)}, "history": np.array([1.0, 0.5])}
    saved = TransferReport(three.runs, three.baselines, extra=extra)
    saved.save(tmp_path / "new" / "folder")
    files = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert files == ["report.json", "report.png"]
    loaded = TransferReport.load(tmp_path / "new" / "folder" / "report.json")
    assert loaded.runs == three.runs and loaded.to_dict() == saved.to_dict()
    assert loaded.extra == {"config": {"folder": str(tmp_path), "seeds": [0, 1]}, "history": [1.0, 0.5]}
    content = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert content["runs"]["DANN"]["1"]["target_accuracy"] == pytest.approx(0.83)
    assert content["means"]["DANN"]["seconds"] == 11 and content["deviations"]["DANN"]["seconds"] == 1
    assert content["gains"]["DAN"]["verdict"] == "negative transfer"


def test_numpy_values_and_seeds_are_saved(tmp_path):
    runs = {name: arm({np.int64(s): np.float32(v) for s, v in BASELINE.items()}) for name in ("plain", "DANN")}
    TransferReport(runs, "plain").save(tmp_path)
    assert TransferReport.load(tmp_path / "report.json").seeds == [0, 1, 2]


def test_picture(three, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    three.save(tmp_path)
    pixels = image.imread(tmp_path / "report.png")
    assert pixels.shape[0] > 300 and pixels.shape[1] > 900 and pixels.std() > 0.05
    figure = three.draw()
    assert [panel.get_title().splitlines()[0] for panel in figure.axes] == [
        "DANN: gain",
        "CORAL: inconclusive",
        "DAN: negative transfer",
    ]
    lines = [line.get_ydata() for line in figure.axes[0].lines]
    np.testing.assert_allclose(lines, [[61, 78], [64, 83], [60, 78]])  # one line per seed, from baseline to method


def test_a_failed_save_leaves_nothing_half_written(three, tmp_path):
    (tmp_path / "report.png").mkdir()  # a picture cannot take the place of a folder
    with pytest.raises(OSError):
        three.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.png"]
    assert TransferReport.load(tmp_path / "report.json").runs == three.runs


@pytest.mark.parametrize(
    "runs, message",
    [
        ({"plain": arm(BASELINE), "DANN": arm({0: 0.7, 1: 0.7, 3: 0.7})}, r"'plain' and 'DANN'.*received \[2, 3\]"),
        ({"plain": arm({0: 0.6}), "DANN": arm({0: 0.7})}, r"at least 2 seeds.*received \[0\] for 'plain'"),
        ({"plain": arm(BASELINE), "DANN": arm({0: 0.7, 1: float("nan"), 2: 0.7})}, "finite.*nan for 'DANN', seed 1"),
        ({"plain": arm(BASELINE), "DANN": arm({0: 0.7, 1: 70.0, 2: 0.7})}, r"\[0, 1\].*70.0 for 'DANN', seed 1"),
        ({"plain": arm(BASELINE), "DANN": {s: {"target_accuracy": 0.7} for s in BASELINE}}, "seconds.*'DANN', seed 0"),
        ({"plain": {0: {"seconds": 1.0}, 1: {"seconds": 1.0}}, "DANN": arm({0: 0.7, 1: 0.7})}, "target_accuracy"),
        ({"plain": arm(BASELINE)}, "at least one method"),
        ({"DANN": arm(BASELINE)}, r"baselines=\['plain'\]"),
    ],
)
def test_bad_runs(runs, message):
    with pytest.raises(ValueError, match=message):
        TransferReport(runs, "plain")


@pytest.mark.parametrize(
    "method, baseline, message",
    [([0.5], [0.4], "at least 2 seeds"), ([0.5, 0.6], [0.4], "shapes"), ([0.5, np.inf], [0.4, 0.4], "finite")],
)
def test_bad_scores(method, baseline, message):
    with pytest.raises(ValueError, match=message):
        paired_gain(method, baseline)


def test_missing_packages_are_named(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[recipes\]'"):
        three.draw()
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[recipes\]'"):
        three.gain("DANN")
