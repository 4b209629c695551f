"""The verbs `export`, `verify` and `zoo`, on a small model and pictures of a folder."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import export_model, take_model, verify_model
from keras_transfer.recipes.export_model import Requests
from tests.recipes.runs import served


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(4, name="logits")]
    )
    path = tmp_path_factory.mktemp("model") / "letters.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def version(model_file, picture_folder, tmp_path_factory):
    requests = Requests(model=model_file, images=picture_folder)
    folder = tmp_path_factory.mktemp("saved_models")
    return export_model.main(export_model.Config(requests, classes=tuple("ABCD"), saved_models=folder))


def test_the_export_answers_as_the_model_does(version, model_file, picture_folder):
    assert version.parent.name == "letters" and version.name == "1"
    images = kt.datasets.image_files(picture_folder, 16, labelled=False)[:5]
    logits = keras.models.load_model(model_file).predict(images, verbose=0)
    answers = served(version)(images=images)
    np.testing.assert_allclose(answers["logits"], logits, atol=1e-5)
    assert [name.decode() for name in answers["class_name"]] == ["ABCD"[place] for place in logits.argmax(-1)]


def test_it_verifies_and_another_model_does_not(version, model_file, picture_folder, tmp_path):
    requests = Requests(model=model_file, images=picture_folder)
    found = verify_model.main(verify_model.Config(requests, export=version.parent))
    assert max(found.differences.values()) <= 1e-5 and found.stored
    other = keras.models.load_model(model_file)
    other.layers[-1].bias.assign(other.layers[-1].bias + [0.0, 0.0, 0.0, 0.1])
    other.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="logits"):
        verify_model.main(verify_model.Config(Requests(tmp_path / "other.keras", images=picture_folder), version))


def test_grey_pictures_are_as_pillow_has_them(picture_folder):
    from PIL import Image

    files = kt.datasets.image_files(picture_folder, 16, labelled=False)
    grey = export_model.pictures(picture_folder, (None, 16, 16, 1))
    places = np.linspace(0, len(files) - 1, 64).astype(int)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in files[places]])[..., None]
    assert np.abs(grey.astype(int) - expected).max() <= 1  # Pillow rounds in integers


@pytest.mark.parametrize(
    "requests, message",
    [
        ({}, "--model"),
        ({"images": None}, "--images or --array"),
    ],
)
def test_missing_requests_are_refused(requests, message, model_file):
    given = Requests(model=model_file, **requests) if requests else Requests()
    with pytest.raises(ValueError, match=message):
        export_model.main(export_model.Config(given))


def test_pictures_for_a_model_of_numbers_are_refused(picture_folder):
    with pytest.raises(ValueError, match="--array"):
        export_model.pictures(picture_folder, (None, 7))


def test_no_export_is_refused(model_file, picture_folder, tmp_path):
    with pytest.raises(ValueError, match="--export"):
        verify_model.main(verify_model.Config(Requests(model_file, images=picture_folder), tmp_path / "none"))


def test_a_model_of_the_zoo_is_copied_whole(tmp_path, capsys):
    names = take_model.main(take_model.Config())
    told = capsys.readouterr().out
    assert names == kt.zoo.names() and [name for name in names if name not in told] == []
    name = min(names, key=lambda name: sum(file["bytes"] for file in kt.zoo.card(name)["files"].values()))
    card = take_model.main(take_model.Config(name))
    assert card == kt.zoo.card(name)
    copy = take_model.main(take_model.Config(name, saved_models=tmp_path / "mine"))
    assert {path.relative_to(copy) for path in copy.rglob("*")} == {
        path.relative_to(kt.zoo.path(name)) for path in kt.zoo.path(name).rglob("*")
    }
    with pytest.raises(FileExistsError):
        take_model.main(take_model.Config(name, saved_models=tmp_path / "mine"))
