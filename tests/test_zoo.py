"""The zoo: its cards are complete and say what is there, its models are trained on, and what was changed is refused.

That each answers in TensorFlow's C++ loader is in `tests/serving/test_zoo.py`.
"""

import dataclasses
import importlib
import json
import pathlib
import shlex
import shutil

import keras
import numpy as np
import pytest
import tyro

import keras_transfer as kt
from keras_transfer.recipes import runs
from keras_transfer.recipes.studies import make_zoo
from keras_transfer.recipes.studies.zoo_entries import CLASSIFIER, ENTRIES, Made, mean_error, share
from keras_transfer.recipes.tables import zoo as table

ROOT = pathlib.Path(__file__).parent.parent
NAMES = kt.zoo.names()
KEYS = {"name", "what_for", "model", "served_by", "paper", "data", "licence", "command", "recipe", "settings", "seed"}
KEYS |= {"metrics", "confidence", "records", "parameters", "served_parameters", "inputs", "outputs", "rowwise"}
KEYS |= {"classes", "going_on", "limits", "verified", "versions", "files"}
LICENCES = "MIT", "CC BY 4.0", "which are free to use", "simulated"
NOT_FREE = "PACS", "MNIST-M", "USPS", "SVHN", "Office"
ROWS = 32


def test_the_zoo_is_what_the_command_makes():
    assert set(NAMES) == set(ENTRIES) and len(NAMES) >= 10
    recipes = {path.stem for path in ROOT.glob("recipes/**/*.py")}
    assert not recipes & set(NAMES)  # which export beside


def test_it_is_small():
    files = {name: [file for file in kt.zoo.path(name).rglob("*") if file.is_file()] for name in NAMES}
    sizes = {name: sum(file.stat().st_size for file in found) / 1e6 for name, found in files.items()}
    assert max(sizes.values()) <= 3, sizes
    assert sum(sizes.values()) <= 25, sizes


def test_git_keeps_it():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!/saved_models/").removesuffix("/") for line in ignored if line.startswith("!/saved_")}
    assert kept == {*ENTRIES, "README.md"}


@pytest.mark.parametrize("name", NAMES)
def test_card(name):
    card, entry, folder = kt.zoo.card(name), ENTRIES[name], kt.zoo.path(name)
    assert set(card) == KEYS and card["name"] == name
    for key in KEYS - {"seed", "classes", "records", "rowwise"}:
        assert card[key], key
    texts = json.loads(json.dumps(make_zoo.texts(entry)))
    assert {key: card[key] for key in texts} == texts and card["going_on"]["code"] == entry.code
    settings = json.loads(json.dumps(runs.settings(entry.config)))
    assert card["settings"] == {key: settings[key] for key in card["settings"]}
    for data in card["data"]:
        assert any(licence in data for licence in LICENCES) and not any(name in data for name in NOT_FREE), data
    for metric in card["metrics"]:
        assert metric["low"] <= metric["value"] <= metric["high"] and metric["over"] and metric["name"], metric
    for record in card["records"]:
        assert np.isfinite(table.found(ROOT / "results", record)), record
    python, _, module, *options = shlex.split(card["command"])
    config = tyro.cli(importlib.import_module(module).Config, args=options)
    assert (python, config.only) == ("python", (name,))
    assert (folder / "README.md").read_text(encoding="utf-8") == make_zoo.page(card)
    served = json.loads((folder / "1" / kt.serving.CARD).read_text(encoding="utf-8"))
    for key in ("inputs", "outputs", "classes", "rowwise"):
        assert card[key] == served[key]
    assert served["warm_up_requests"] and set(served["inputs"]) == set(card["verified"])
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert set(card["files"]) == files - {"card.json", "README.md"}


def real_shaped(arrays):
    """Arrays as a card describes them: labels go through the first classes, so that each has examples."""
    rng, made = np.random.default_rng(0), {}
    for name, about in arrays.items():
        shape, low, high = (ROWS, *about["shape"][1:]), about["min"], about["max"]
        if about["dtype"].startswith("float"):
            made[name] = rng.uniform(low, high, shape).astype(about["dtype"])
        elif len(shape) == 1:
            made[name] = (np.arange(ROWS) % min(5, high + 1)).astype(about["dtype"])
        else:
            made[name] = rng.integers(low, high + 1, shape).astype(about["dtype"])
    return made


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on(name):
    """By the code of its card, for a step or a few, which run as they are: to trace them takes longer."""
    model, going_on = kt.zoo.load(name), kt.zoo.card(name)["going_on"]
    assert not any(np.any(v) for v in model.optimizer.variables if v.path.endswith(("momentum", "velocity")))
    model.run_eagerly = True
    before = {id(weight): np.array(weight) for weight in model.trainable_weights}
    scope = {"model": model, "kt": kt, "keras": keras, "epochs": 1, "steps": 1, **real_shaped(going_on["arrays"])}
    exec(compile(going_on["code"], name, "exec"), scope)
    assert np.isfinite(model.history.history["loss"]).all()
    moved = [np.any(np.array(weight) != before.get(id(weight), 0)) for weight in model.trainable_weights]
    assert np.mean(moved) > 0.5  # of some the gradient is zero in one step


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of one model, as if it were the whole zoo."""
    shutil.copytree(kt.zoo.path("sinusoids_maml"), tmp_path / "sinusoids_maml")
    monkeypatch.setattr("keras_transfer.zoo._folder", lambda: tmp_path)
    return tmp_path / "sinusoids_maml"


@pytest.mark.parametrize("file", ["model.keras", "1/saved_model.pb", "1/variables/variables.data-00000-of-00001"])
def test_a_file_that_was_changed_is_refused(copied, file):
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    for function in (kt.zoo.load, kt.zoo.path):
        with pytest.raises(ValueError, match=f"(?s)Expected .*{file}.* with the SHA-256 .* of its card; received"):
            function("sinusoids_maml")


def test_a_file_that_is_missing_is_named(copied):
    (copied / "1/fingerprint.pb").unlink()
    with pytest.raises(ValueError, match="fingerprint.pb with the SHA-256 .*; received no file"):
        kt.zoo.path("sinusoids_maml")


def test_another_version_beside_is_refused(copied):
    """A server would take it for the newer one."""
    shutil.copytree(copied / "1", copied / "2")
    with pytest.raises(ValueError, match="what its card names; received .*2/"):
        kt.zoo.path("sinusoids_maml")


def test_names(copied):
    assert kt.zoo.names() == ["sinusoids_maml"]
    (copied.parent / "adapt_digits/1").mkdir(parents=True)  # what a recipe exports beside
    assert kt.zoo.names() == ["sinusoids_maml"]
    assert kt.zoo.load("sinusoids_maml").name == kt.zoo.load("sinusoids_maml").name


@pytest.mark.parametrize("name, close", [("digit_adapted", "digits_adapted"), ("garments", "two_garments"), (3, "")])
def test_an_unknown_name(name, close):
    for function in (kt.zoo.card, kt.zoo.load, kt.zoo.path):
        with pytest.raises(ValueError, match=f"Expected the name of a model, such as {close}.*; received {name!r}"):
            function(name)


def test_all_are_served_with_one_file(tmp_path):
    file = kt.serving.write_config(kt.zoo.path(NAMES[0]).parent, tmp_path / "models.config")
    text = file.read_text(encoding="utf-8")
    assert [name for name in NAMES if f'name: "{name}"' not in text or f'"/models/{name}"' not in text] == []


def test_the_folder_says_what_is_in_it():
    folder = ROOT / "saved_models"
    assert (folder / "README.md").read_text(encoding="utf-8") == make_zoo.contents(folder)


def test_a_model_that_is_there_is_not_made_again(copied):
    """Its card gets the texts that are said of it now."""
    page, card = ((copied / name).read_bytes() for name in ("README.md", "card.json"))
    (copied / "card.json").write_text(card.decode().replace("Fits a sinusoid", "Fits"), encoding="utf-8")
    (copied / "README.md").unlink()
    make_zoo.main(make_zoo.Config(only=("sinusoids_maml",), saved_models=copied.parent))
    assert [(copied / name).read_bytes() for name in ("README.md", "card.json")] == [page, card]


def test_the_command_makes_a_model(tmp_path, monkeypatch):
    """A tiny one in place of a recipe's; nothing is left beside it, nor of one that fails."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

    def make(config):
        given = {"images": x, "labels": np.arange(20) % 2}
        return Made(network, x, [share("right", 0.75, 20)], given, {"outputs": "logits"}, CLASSIFIER)

    def fail(config):
        raise RuntimeError("no data")

    for name, function in (("digits_adapted", make), ("sinusoids_maml", fail)):
        monkeypatch.setitem(make_zoo.ENTRIES, name, dataclasses.replace(ENTRIES[name], make=function))
    made = make_zoo.main(make_zoo.Config(only=("digits_adapted",), saved_models=tmp_path))["digits_adapted"]
    with pytest.raises(RuntimeError, match="no data"):
        make_zoo.main(make_zoo.Config(only=("sinusoids_maml",), saved_models=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "digits_adapted"]

    monkeypatch.setattr("keras_transfer.zoo._folder", lambda: tmp_path)
    assert set(made) == KEYS and kt.zoo.card("digits_adapted") == made
    assert made["going_on"]["arrays"]["labels"] == {"shape": [None], "dtype": "int64", "min": 0, "max": 1}
    with np.load(kt.zoo.path("digits_adapted") / "answers.npz") as answers:
        expected = kt.zoo.load("digits_adapted").predict(x[:4], verbose=0)
        np.testing.assert_allclose(answers["serving_default/logits"], expected, atol=1e-6)


def test_intervals():
    """Wilson's, by its formula; of means the normal one."""
    z, p, n = 1.959964, 0.75, 20
    centre, half = p + z * z / 2 / n, z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    found = share("right", p, n)
    np.testing.assert_allclose(
        [found["low"], found["high"]], (centre + np.array([-half, half])) / (1 + z * z / n), 1e-6
    )
    found = mean_error("error", [1.0, 2.0, 3.0, 2.0], "tasks")  # of standard deviation sqrt(2/3)
    np.testing.assert_allclose(
        [found["low"], found["value"], found["high"]], 2 + 1.96 * np.sqrt(1 / 6) * np.arange(-1, 2)
    )


def test_the_command_refuses_other_names(tmp_path):
    with pytest.raises(ValueError, match="Expected names of .*digits_adapted.*; received sinusoid"):
        make_zoo.main(make_zoo.Config(only=("sinusoid",), saved_models=tmp_path))
