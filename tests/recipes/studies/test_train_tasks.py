import keras
import numpy as np
import pytest

from keras_transfer.recipes import train_attributes
from keras_transfer.recipes.studies import train_tasks
from tests.recipes.runs import check_run, folders


@pytest.mark.usefixtures("garments")
def test_a_short_run(tmp_path):
    config = train_tasks.Config(
        data="multi_fashion",
        weighting="cagrad",
        seeds=(0, 1),
        images=2256,
        epochs=1,
        batch_size=64,
        rates=(2e-3,),
        **folders(tmp_path),
    )
    record = train_tasks.main(config)
    pictures = ("curves", "samples", "accuracy", "left", "right")
    check_run(tmp_path, "train_tasks", "multi_fashion_shared_encoder_cagrad", record, pictures)
    assert set(record["accuracy"]) == {"left", "right", "shared"} and set(record["reports"]) == {"left", "right"}
    assert set(record["export"]["differences"]) == {"left", "right", "serving_default", "embed"}
    assert {"left_weight", "left_right_cosine"} <= set(record["histories"][0])


@pytest.mark.parametrize("architecture", train_tasks.ARCHITECTURES)
def test_every_architecture_answers_all_tasks(architecture):
    heads = {"left": keras.layers.Dense(10), "right": keras.layers.Dense(5)}
    model = train_tasks.ARCHITECTURES[architecture](heads, weighting=train_tasks.WEIGHTINGS["pcgrad"](), missing=-1)
    answers = model(np.zeros((2, 36, 36, 1), "uint8"))
    assert {task: tuple(logits.shape) for task, logits in answers.items()} == {"left": (2, 10), "right": (2, 5)}


def test_letters_are_those_of_the_recipe():
    x, _, names = train_tasks.load(train_tasks.Config(images=2100))
    expected, _, tasks = train_attributes.load(train_attributes.Config(images=2100))
    assert names == tasks
    np.testing.assert_array_equal(x["train"], expected["train"])


@pytest.mark.parametrize("data", ["glyphs", "multi_fashion"])
def test_too_few_images_are_an_error(data):
    with pytest.raises(ValueError, match="more than 2000 `images`, which choose the rates; received 2000"):
        train_tasks.main(train_tasks.Config(data=data, images=2000))
