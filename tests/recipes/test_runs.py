import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

import keras_transfer as kt
from recipes import pictures, runs
from tests.recipes.runs import check_run, folders, served


@dataclasses.dataclass(frozen=True)
class Config:
    runs: pathlib.Path
    saved_models: pathlib.Path
    results: pathlib.Path | None
    images: pathlib.Path | None = pathlib.Path("mine")
    backbone: str = "hub:/somewhere/on/this/machine"
    steps: int = 3


def figure():
    return pictures.samples({"test": np.random.default_rng(0).integers(0, 256, (48, 28, 28, 1)).astype("uint8")})


def test_settings_name_no_folder(tmp_path):
    assert runs.settings(Config(**folders(tmp_path))) == {"backbone": "hub", "steps": 3}


def test_a_record_without_an_export(tmp_path, capsys):
    record = runs.finish(Config(**folders(tmp_path)), "learn", "case", {"a": 1}, {"samples": figure()}, "All is well.")
    assert record == {"config": {"backbone": "hub", "steps": 3}, "a": 1}
    assert check_run(tmp_path, "learn", "case", record, ("samples",)) is None
    printed = capsys.readouterr().out
    assert "All is well." in printed and "Pictures and report" in printed and "Export" not in printed


def test_a_report_with_an_export_verified_on_every_request(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    tests = {arm: {seed: {"accuracy": 0.5 + 0.1 * seed} for seed in range(2)} for arm in ("baseline", "method")}
    report = kt.report.TransferReport(tests, "baseline", "accuracy", {"histories": {}})
    config = Config(**folders(tmp_path))
    options = {"model": model, "x": x, "requests": [x[:2], x[2:9]], "classes": "abc", "metrics": {"accuracy": 0.5}}
    record = runs.finish(config, "learn", "case", report, {"samples": figure()}, **options)
    assert record["means"]["method"]["accuracy"] == pytest.approx(0.55)
    assert record["extra"]["config"]["steps"] == 3 and record["extra"]["histories"] == {}
    assert record["extra"]["export"]["differences"]["serving_default"] <= 1e-5
    version = check_run(tmp_path, "learn", "case", record, ("samples", "report"))
    assert set(served(version)(images=x)["class_name"]) <= {b"a", b"b", b"c"}
    printed = capsys.readouterr().out
    assert "method: no difference" in printed and f"Export: {version}" in printed


def test_results_are_left_alone_unless_asked(tmp_path):
    config = Config(**{**folders(tmp_path), "results": None})
    runs.finish(config, "learn", "case", {"a": 1}, {"empty": Figure()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_progress_shows_the_epochs(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    ones = np.ones((2, 1), "float32")
    model.fit(ones, ones, epochs=2, verbose=0, callbacks=[runs.progress("a method, seed 0", 2)])
    printed = capsys.readouterr().out
    assert printed.startswith("a method, seed 0\n") and "2/2" in printed and "loss" in printed
