import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.finetuning import freezing
from tests.contract import compiled

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(16, 5)).astype("float32")
Y = np.arange(16) % 3


def encoder():
    layers = keras.layers
    block = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="inner"), layers.BatchNormalization(name="inner_bn")], name="block"
    )
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, name="outer"), layers.BatchNormalization(name="outer_bn"), block]
    )


def head():
    return keras.Sequential([keras.Input((4,)), keras.layers.RMSNormalization(), keras.layers.Dense(3, name="logits")])


def functional():
    x = keras.Input((5,))
    return keras.Model(x, head()(encoder()(x)))


def sequential():
    return keras.Sequential([keras.Input((5,)), encoder(), head()])


def transfer():
    model = kt.models.DAN(encoder(), head())
    model.build((None, 5))
    return model


def fit(model):
    """Trains and returns the names of what moved."""
    compiled(model, keras.optimizers.AdamW(0.01, weight_decay=0.1))
    before = model.get_weights()
    x = {"source": X, "target": X + 1} if isinstance(model, kt.TransferModel) else X
    model.fit(x, Y, epochs=2, verbose=0)
    after = model.get_weights()
    moved = [w.path for w, a, b in zip(model.weights, before, after) if not np.array_equal(a, b)]
    return sorted("/".join(path.split("/")[-2:]) for path in moved if not path.endswith("/step"))


@pytest.fixture(params=[functional, sequential, transfer])
def model(request):
    return request.param()


def test_train_only(model):
    freezing.train_only(model, [".*inner_bn/.*", ".*logits/kernel"])
    assert fit(model) == ["inner_bn/beta", "inner_bn/gamma", "inner_bn/moving_mean"] + [
        "inner_bn/moving_variance",
        "logits/kernel",
    ]


def test_train_norms_and_the_choice_of_batch_norm(model):
    freezing.train_norms(model)
    names = [f"{name}_bn/{part}" for name in ("inner", "outer") for part in ("beta", "gamma")]
    statistics = [f"{name}_bn/moving_{part}" for name in ("inner", "outer") for part in ("mean", "variance")]
    (scale,) = ["/".join(v.path.split("/")[-2:]) for v in model.weights if v.path.endswith("/scale")]
    assert fit(model) == sorted([*names, *statistics, scale])
    freezing.train_only(model, ".*")
    freezing.freeze_batch_norm(model)
    moved = [f"{layer}/{part}" for layer in ("inner", "logits", "outer") for part in ("bias", "kernel")]
    assert fit(model) == sorted([*moved, scale])


def test_train_biases(model):
    freezing.train_biases(model)
    trains = sorted("/".join(v.path.split("/")[-2:]) for v in model.trainable_variables)
    assert trains == ["inner/bias", "inner_bn/beta", "logits/bias", "outer/bias", "outer_bn/beta"]
    freezing.freeze_batch_norm(model)
    assert fit(model) == ["inner/bias", "logits/bias", "outer/bias"]


def test_freeze_reaches_what_was_thawed_inside(model):
    inner = next(layer for layer in model._flatten_layers() if layer.name == "inner")
    model.trainable = False
    inner.trainable = True
    model.trainable = False
    assert inner.trainable == (keras.backend.backend() == "tensorflow")  # where Keras does nothing
    freezing.freeze(model)
    assert not inner.trainable and not inner.trainable_variables
    outer = keras.Sequential([keras.Input((5,)), model, keras.layers.Dense(3, name="new")])
    assert [v.name for v in outer.trainable_variables] == ["kernel", "bias"]
    freezing.train_only(model, ".*")
    assert len(model.trainable_variables) == 11


def test_gamma_trains_on_frozen_statistics(model):
    freezing.train_only(model, ".*logits/.*")
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.trainable = True
    assert fit(model) == ["inner_bn/gamma", "logits/bias", "logits/kernel", "outer_bn/gamma"]


def test_what_trains_survives_saving(model, tmp_path):
    freezing.train_only(model, [".*inner.*", ".*logits/.*"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    names = [v.path.split("/")[-2:] for v in loaded.trainable_variables]
    assert names == [v.path.split("/")[-2:] for v in model.trainable_variables]
    assert len(names) == 6
    assert fit(loaded) == fit(model)


def test_shared_layers():
    shared = keras.layers.Dense(3, name="shared")
    x = keras.Input((3,))
    once = keras.Model(x, shared(x), name="once")
    deeper = keras.Model(x, once(x), name="deeper")
    model = keras.Model(x, keras.layers.Dense(2, name="last")(shared(deeper(x))))
    freezing.train_only(model, ".*last/.*")
    assert len(model.trainable_variables) == 2
    freezing.train_only(model, ".*shared/.*")
    assert [id(v) for v in model.trainable_variables] == [id(v) for v in shared.variables]


@pytest.mark.parametrize(
    "layer, x",
    [
        (keras.layers.Dense(3), np.ones((1, 4))),
        (keras.layers.Conv2D(3, 1), np.ones((1, 2, 2, 4))),
        (keras.layers.EinsumDense("ab,bc->ac", (3,)), np.ones((1, 4))),
        (keras.layers.Embedding(5, 3), np.ones((1, 4))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights_under_lora_stay_frozen(layer, x):
    model = keras.Sequential([layer])
    model(x)
    layer.enable_lora(2)
    base = getattr(layer, "_kernel", None) if hasattr(layer, "_kernel") else layer._embeddings
    for thaw in (lambda: freezing.train_only(model, ".*"), lambda: freezing.train_only(model, ".*lora.*")):
        model.trainable = False
        model.trainable = True
        assert base.trainable  # Keras thaws it
        thaw()
        assert not base.trainable
        assert sum("lora_" in v.name for v in model.trainable_variables) == 2
    with pytest.raises(ValueError, match="which match none"):
        freezing.train_only(model, ".*/(kernel|embeddings)")


class Whole(keras.layers.Layer):
    """A layer that holds a network's variables, as one of TF Hub."""

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(), name="gamma")
        self.kernel = self.add_weight(shape=(), name="kernel")

    def call(self, x):
        return x * self.gamma * self.kernel

    def freeze_batch_norm(self):
        self.gamma.trainable = False


def test_layers_that_hold_a_network():
    model = keras.Sequential([keras.Input((3,)), Whole(name="hub")])
    freezing.train_norms(model)
    assert [v.name for v in model.trainable_variables] == ["gamma"]
    freezing.train_only(model, ".*hub/.*")
    freezing.freeze_batch_norm(model)
    assert [v.name for v in model.trainable_variables] == ["kernel"]


def test_mobilenet():
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.25)
    freezing.train_norms(model)
    assert len(model.trainable_variables) == 2 * 27
    freezing.train_only(model, ".*conv_(dw|pw)_1[23].*")
    assert len(model.trainable_variables) == 4 * 3
    freezing.freeze_batch_norm(model)
    assert len(model.trainable_variables) == 4
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {
        "conv_dw_12",
        "conv_pw_12",
        "conv_dw_13",
        "conv_pw_13",
    }


def test_bad_input():
    model = functional()
    before = [v.path for v in model.trainable_variables]
    with pytest.raises(
        ValueError, match=r"received \['outer'\], which match none of its 11, such as \['.*outer/kernel"
    ):
        freezing.train_only(model, ["outer", ".*logits/.*"])
    with pytest.raises(ValueError, match=r"received \[\]"):
        freezing.train_only(model, [])
    assert [v.path for v in model.trainable_variables] == before
    with pytest.raises(ValueError, match="A model that is not built has none yet"):
        freezing.train_only(keras.Sequential([keras.layers.Dense(2)]), ".*")
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)], name="plain")
    with pytest.raises(ValueError, match="such as bias, beta; received 'plain' without any"):
        freezing.train_biases(plain)
    with pytest.raises(ValueError, match="such as gamma, beta, scale; received 'plain' without any"):
        freezing.train_norms(plain)
