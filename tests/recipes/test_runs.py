import dataclasses
import functools
import json
import pathlib

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

import keras_transfer as kt
from keras_transfer.recipes import pictures, runs
from tests.recipes.runs import check_run, folders, served


@dataclasses.dataclass(frozen=True)
class Config:
    runs: pathlib.Path
    saved_models: pathlib.Path
    results: pathlib.Path | None
    images: pathlib.Path | None = pathlib.Path("mine")
    backbone: str = "hub:/somewhere/on/this/machine"
    steps: int = 3
    rate: float = 0.1
    seeds: tuple[int, ...] = (0, 1)
    resume: pathlib.Path | None = None


ASKED = {"backbone": "hub", "steps": 3, "rate": 0.1, "seeds": (0, 1)}


def figure():
    return pictures.samples({"test": np.random.default_rng(0).integers(0, 256, (48, 28, 28, 1)).astype("uint8")})


def test_settings_name_no_folder(tmp_path):
    assert runs.settings(Config(**folders(tmp_path))) == ASKED


def test_a_record_without_an_export(tmp_path, capsys):
    run = runs.Run(Config(**folders(tmp_path)), "learn", "case")
    record = run.finish({"a": 1}, {"samples": figure()}, "All is well.")
    assert record == {"config": ASKED, "a": 1}
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
    record = runs.Run(config, "learn", "case").finish(report, {"samples": figure()}, **options)
    assert record["means"]["method"]["accuracy"] == pytest.approx(0.55)
    assert record["extra"]["config"]["steps"] == 3 and record["extra"]["histories"] == {}
    assert record["extra"]["export"]["differences"]["serving_default"] <= 1e-5
    version = check_run(tmp_path, "learn", "case", record, ("samples", "report"))
    assert set(served(version)(images=x)["class_name"]) <= {b"a", b"b", b"c"}
    printed = capsys.readouterr().out
    assert "method: no difference" in printed and f"Export: {version}" in printed


def test_results_are_left_alone_unless_asked(tmp_path):
    config = Config(**{**folders(tmp_path), "results": None})
    runs.Run(config, "learn", "case").finish({"a": 1}, {"empty": Figure()})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_progress_shows_the_epochs(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    ones = np.ones((2, 1), "float32")
    model.fit(ones, ones, epochs=2, verbose=0, callbacks=[runs.progress("a method, seed 0", 2)])
    printed = capsys.readouterr().out
    assert printed.startswith("a method, seed 0\n") and "2/2" in printed and "loss" in printed


def test_progress_shows_steps_at_most_twenty_times(capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    ones = np.ones((60, 1), "float32")
    shown = runs.progress("a method, seed 0", 60, "step")
    model.fit(ones, ones, batch_size=1, verbose=0, callbacks=[shown])
    printed = capsys.readouterr().out
    assert printed.count("/60") <= 20 and "60/60" in printed and "loss" in printed


# Before a run.


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        ({"seeds": ()}, ValueError, "at least one value of --seeds; received none"),
        ({"seeds": (0, 1, 0)}, ValueError, r"each value of --seeds once; received \[0\] more than once"),
        ({"seeds": (-1,)}, ValueError, "--seeds to be at least 0; received -1"),
        ({"steps": 0}, ValueError, "--steps to be at least 1; received 0"),
        ({"rate": float("nan")}, ValueError, "--rate to be finite and at least 0; received nan"),
        ({"rate": -0.1}, ValueError, "--rate to be finite and at least 0; received -0.1"),
        ({"runs": "a file"}, NotADirectoryError, "--runs to be a folder; received .*file, but .*file is a file"),
        ({"saved_models": "a file/models"}, NotADirectoryError, "--saved-models to be a folder; received"),
        ({"results": "a file"}, NotADirectoryError, "--results to be a folder; received"),
        ({"resume": "nowhere"}, ValueError, "--resume to be the folder of a run, with its report.json; received"),
    ],
)
def test_settings_are_checked_before_anything_is_made(tmp_path, wrong, error, message):
    (tmp_path / "a file").touch()
    wrong = {name: tmp_path / value if isinstance(value, str) else value for name, value in wrong.items()}
    with pytest.raises(error, match=message):
        runs.Run(Config(**{**folders(tmp_path), **wrong}), "learn", "case")
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="--runs to be a folder to write to"):
        runs.Run(Config(**folders(tmp_path)), "learn", "case")


def test_a_package_that_the_end_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(runs.PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match="the package no-such-package: pip install"):
        runs.Run(Config(**folders(tmp_path)), "learn", "case")


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path):
    config = Config(**folders(tmp_path))
    for number in range(3):
        runs.Run(config, "learn", "case").finish({"a": number}, {})
    found = [json.loads(path.read_text())["a"] for path in (tmp_path / "runs").glob("*/report.json")]
    assert sorted(found) == [0, 1, 2]


# Of a run that is interrupted.


def network(value):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.full((1, 1), value), np.zeros(1)])
    return model


def go(run, stop=None):
    """Runs three parts, each a draw of numbers; the one to stop at is interrupted, as by Ctrl-C."""
    found, networks = {}, {}

    def part(name):
        if name == stop:
            raise KeyboardInterrupt
        value = float(np.random.random())
        return {"value": value, "not a number": float("nan")}, {"model": network(value)} if name == "a" else {}

    for seed, name in enumerate("abc"):
        found[name], kept = run.part(name, functools.partial(part, name), seed)
        networks |= kept
    return run.finish({"found": found, "kernel": float(networks["model"].get_weights()[0][0, 0])}, {})


@pytest.mark.parametrize("stop", ["a", "b", "c"])
def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(tmp_path, capsys, stop):
    config = Config(**folders(tmp_path))
    whole = go(runs.Run(config, "learn", "case"))
    with pytest.raises(KeyboardInterrupt):
        go(run := runs.Run(config, "learn", "case"), stop)
    assert f"{stop}: not finished. What is, is kept: go on with --resume {run.folder}" in capsys.readouterr().out
    partial = json.loads((run.folder / "report.json").read_text())
    assert set(partial["parts"]) == {name for name in "abc" if name < stop} and partial["settings"]["steps"] == 3
    resumed = go(runs.Run(dataclasses.replace(config, resume=run.folder), "learn", "case"))
    assert resumed == whole and resumed["found"]["a"]["not a number"] is None
    assert json.loads((run.folder / "report.json").read_text())["found"] == whole["found"]
    assert sorted(path.name for path in run.folder.iterdir()) == ["report.json"]
    printed = capsys.readouterr().out
    assert all((f"{name}: kept from before" in printed) == (name < stop) for name in "abc")


def test_what_a_part_found_is_the_caller_s_own(tmp_path):
    run = runs.Run(Config(**folders(tmp_path)), "learn", "case")
    run.part("a", lambda: ({"values": [1]}, {}))[0]["values"].append(2)
    assert run.part("a", lambda: ({}, {}))[0] == {"values": [1]}


def test_only_the_same_run_goes_on(tmp_path):
    config = Config(**folders(tmp_path))
    run = runs.Run(config, "learn", "case")
    run.part("a", lambda: ({}, {}))
    again = dataclasses.replace(config, resume=run.folder)
    with pytest.raises(ValueError, match="settings of the run to resume; received steps 3 before and 4 now"):
        runs.Run(dataclasses.replace(again, steps=4), "learn", "case")
    with pytest.raises(ValueError, match="settings of the run to resume; received images .*mine.* before and .*other"):
        runs.Run(dataclasses.replace(again, images=pathlib.Path("other")), "learn", "case")
    with pytest.raises(ValueError, match="a run of the case 'other' to resume; received one of 'case'"):
        runs.Run(again, "learn", "other")
    runs.Run(again, "learn", "case").finish({}, {})
    with pytest.raises(ValueError, match="interrupted run; received .*, a finished one"):
        runs.Run(again, "learn", "case")


def test_ctrl_c_ends_a_command_as_shells_expect(monkeypatch):
    def main(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["recipe", "--runs", "runs", "--saved-models", "saved_models", "--results", "None"])
    with pytest.raises(SystemExit) as ended:
        runs.command(main, Config, "A recipe.")
    assert ended.value.code == 130
