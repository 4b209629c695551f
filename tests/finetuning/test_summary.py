import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.finetuning.freezing import freeze_batch_norm, train_only
from keras_transfer.finetuning.summary import summary, trainable_parameters


def table(model):
    lines = []
    summary(model, lines.append)
    return [" ".join(line.split()) for line in lines]


def network():
    dense = keras.layers.Dense
    encoder = keras.Sequential(
        [keras.Input((4,)), dense(3, name="a"), keras.layers.BatchNormalization(name="bn"), dense(2, name="b")]
    )
    model = kt.models.DAN(encoder, keras.Sequential([keras.Input((2,)), dense(5, name="logits")], name="head"))
    model.build((None, 4))
    return model


def test_rows():
    model = network()
    train_only(model.encoder, ".*bn/gamma")
    assert trainable_parameters(model) == 3 + 15
    lines = table(model)
    assert lines[0] == "path class parameters trainable note"
    assert [line.split("/")[-1] for line in lines[1:-1]] == [
        "a 2 layers 16 0",  # the model's step counter and the first layer
        "bn BatchNormalization 12 3 statistics move in training",
        "b Dense 8 0",
        "logits Dense 15 15",
    ]
    assert lines[-1] == "total 51 18 35.29 % of the parameters"
    assert model.count_params() == 51


def test_statistics_that_move_are_never_hidden():
    model = keras.Sequential([keras.Input((4,)), *[keras.layers.BatchNormalization() for _ in range(3)]])
    model.layers[1].gamma.trainable = model.layers[1].beta.trainable = False
    model.layers[0].trainable = model.layers[2].trainable = False
    lines = table(model)
    assert [line.split(" 0 ")[-1] for line in lines[1:-1]] == [
        "statistics frozen",
        "statistics move in training",
        "statistics frozen",
    ]


def test_mobilenet_fits_a_screen():
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.25)
    train_only(model, ".*conv_(dw|pw)_1[23].*")
    freeze_batch_norm(model)
    lines = table(model)
    assert len(lines) == 1 + 1 + 8 + 1
    assert lines[1].startswith("conv1 ... conv_pw_11_bn 46 layers") and lines[1].endswith(" 0 statistics frozen")
    total = sum(int(line.split(" statistics")[0].split()[-2].replace(",", "")) for line in lines[1:-1])
    assert total == model.count_params()


def test_lora(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="logits")], name="net")
    model.layers[0].enable_lora(2)
    assert table(model)[1] == "net/logits Dense 29 17 LoRA rank 2"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not np.any(loaded.layers[0].lora_kernel_a.numpy())
    assert "LoRA is dead: both factors are zero" in table(loaded)[1]


def test_a_model_without_weights():
    assert table(keras.Sequential([keras.layers.Dense(2)]))[-1] == "total 0 0 no parameters; the model is not built"
