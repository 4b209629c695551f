import keras
import numpy as np
import pytest
from keras import layers

from keras_transfer.finetuning import lora
from tests.finetuning.adapters import CLASSES, compiled, fit, images, nested


def values(model):
    return {weight.path: weight.numpy() for weight in model.weights}


# Attaching.


def test_only_the_adapter_and_the_chosen_layers_train():
    model = nested()
    before, outputs = values(model), model.predict(images()[0], verbose=0)
    lora.attach(model, rank=2, also_train="head")
    np.testing.assert_array_equal(model.predict(images()[0], verbose=0), outputs)
    assert sorted(weight.name for weight in model.trainable_weights) == sorted(
        ["lora_kernel_a", "lora_kernel_b"] * 2 + ["kernel", "bias"]
    )
    fit(compiled(model, keras.optimizers.SGD(0.1)), epochs=2)
    after = values(model)
    same = {path for path, value in before.items() if np.array_equal(value, after[path])}
    assert same == {path for path in before if not path.startswith("head")}  # BatchNormalization: bit for bit
    assert all(after[weight.path].any() for weight in model.trainable_weights)


@pytest.mark.parametrize("alpha, factor", [(None, 1.0), (8.0, 4.0)])
def test_layers_act_as_w_plus_alpha_over_rank_a_b(alpha, factor):
    model = nested()
    lora.attach(model, rank=2, alpha=alpha, layers=["pointwise", "head"])
    rng = np.random.default_rng(0)
    for layer in (model.get_layer("encoder").get_layer("pointwise"), model.get_layer("head").layers[-1]):
        kernel, bias = layer.weights[0].numpy(), layer.bias.numpy()
        a, b = (rng.normal(size=w.shape).astype("float32") for w in layer.weights[-2:])
        layer.lora_kernel_a.assign(a), layer.lora_kernel_b.assign(b)
        x = rng.normal(size=(2, 4, 4, kernel.shape[-2]) if kernel.ndim == 4 else (2, kernel.shape[0]))
        by_hand = x @ (kernel + factor * (a @ b)).reshape(kernel.shape[-2:]) + bias
        by_hand = np.maximum(by_hand, 0) if kernel.ndim == 4 else by_hand
        np.testing.assert_allclose(layer(x.astype("float32")), by_hand, atol=1e-4)


def test_the_result_says_what_was_skipped_and_why():
    x = inputs = keras.Input((6,))
    x = layers.Dense(5, kernel_constraint="non_neg", name="positive")(x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(4, name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(1, name="narrow")(x))
    result = lora.attach(model, rank=2)
    assert result.layers == ("hidden",)
    assert result.skipped == {
        "positive": "has a constraint on its kernel",
        "norm": "Keras has no LoRA for LayerNormalization",
        "narrow": "rank 2 is above 1, the most that a kernel (4, 1) can have",
    }
    assert result.parameters == (5 * 2 + 2 * 4, 35 + 10 + 24 + 5)
    assert str(result).splitlines()[0] == "LoRA on 1 layers: 18 parameters, 24.32% of 74"
    assert "skipped 1 (Keras has no LoRA for LayerNormalization): norm" in str(result)


def test_depthwise_and_unbuilt_and_quantised_layers_are_skipped():
    class Later(keras.Model):
        def __init__(self):
            super().__init__()
            self.network, self.later = nested(), layers.Dense(2, name="later")

        def build(self, input_shape):
            self.built = True

        def call(self, x):
            return self.network(x)

    model = Later()
    model(images()[0])
    model.network.get_layer("head").layers[-1].quantize("int8")
    skipped = lora.attach(model, rank=2).skipped
    assert skipped["depthwise"] == "Keras has no LoRA for DepthwiseConv2D"
    assert skipped["head/logits"] == "quantised"
    assert skipped["later"] == "not built"


def test_parameters_count_what_is_there():
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs))
    lora.attach(model, rank=2, layers=".*/query")
    # EinsumDense factorises its last axis: A (6, 2, rank), B (rank, 3).
    assert lora.parameters(model) == (6 * 2 * 2 + 2 * 3, 3 * (6 * 2 * 3 + 2 * 3) + 2 * 3 * 6 + 6)
    assert lora.parameters(model).share == pytest.approx(30 / 168)


def test_statistics_move_where_batch_normalization_trains():
    model = nested()
    lora.attach(model, rank=2, also_train="stem_bn")
    before = values(model)
    fit(compiled(model))
    moved = {path for path, value in values(model).items() if not np.array_equal(value, before[path])}
    assert {f"stem_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")} < moved


def test_a_frozen_backbone_can_take_lora():
    model = nested()
    model.get_layer("encoder").trainable = False
    lora.attach(model, rank=2)
    assert len(model.trainable_weights) == 6


def test_a_compiled_model_asks_to_be_compiled_again():
    model = compiled(nested())
    fit(model, epochs=1)
    lora.attach(model, rank=2)
    with pytest.raises(ValueError, match="compile"):
        fit(model)
    before = values(model)
    fit(compiled(model, keras.optimizers.SGD(0.1)), epochs=1)
    assert not np.array_equal(values(model)["pointwise/lora_kernel_b"], before["pointwise/lora_kernel_b"])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_and_merges_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = nested()
        lora.attach(model, rank=2, layers="encoder", also_train="head")
        losses = fit(compiled(model, keras.optimizers.Adam(0.02)), epochs=4)
        merged = lora.merge(model)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0]
    layer = model.get_layer("encoder").get_layer("pointwise")
    a, b = layer.lora_kernel_a.numpy(), layer.lora_kernel_b.numpy()
    assert a.dtype == b.dtype == "float32"
    kernel = merged.get_layer("encoder").get_layer("pointwise").kernel.numpy()
    np.testing.assert_allclose(kernel, layer.weights[0].numpy() + a @ b, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(rank=0), "int of 1 or more"),
        (dict(rank=2.0), "int of 1 or more"),
        (dict(alpha=0.0), "alpha above 0"),
        (dict(layers="point"), "`layers` to match layers of .*pointwise.*received 'point'"),
        (dict(also_train=["head", "tail"]), "`also_train` to match .*received 'tail'"),
        (dict(layers="depthwise"), "no LoRA for DepthwiseConv2D.*from_applications.*from_keras_hub"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        lora.attach(nested(), **arguments)


def test_bad_models():
    with pytest.raises(ValueError, match="Expected a built model"):
        lora.attach(keras.Sequential([layers.Dense(2)]))
    model = nested()
    lora.attach(model, rank=2)
    with pytest.raises(ValueError, match="stem has it. Call `merge` first"):
        lora.attach(model, rank=2)
    for function in (lora.merge, lambda model: lora.save(model, "never.npz")):
        with pytest.raises(ValueError, match="Expected a model with LoRA"):
            function(nested())


# Merging.


def sequence():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 6)(x)
    x = layers.Conv1D(6, 3, padding="same", groups=2)(x)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


@pytest.mark.parametrize("make, x", [(nested, images()[0]), (sequence, np.arange(20).reshape(4, 5) % 9)])
def test_merged_models_equal_and_have_no_lora(make, x):
    model = make()
    lora.attach(model, rank=2, alpha=5.0)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    merged = lora.merge(model)
    assert type(merged) is type(model) and merged.name == model.name
    assert [w.shape for w in merged.weights] == [w.shape for w in make().weights]
    assert "lora" not in str(merged.get_config())
    assert len(merged.trainable_weights) == len(make().trainable_weights)
    difference = np.abs(merged.predict(x, verbose=0) - model.predict(x, verbose=0)).max()
    assert difference <= 1e-5
    assert np.abs(make().predict(x, verbose=0) - model.predict(x, verbose=0)).max() > 1e-2


def test_keras_loads_its_own_adapters_dead_and_merging_revives(tmp_path):
    model, rng = nested(), np.random.default_rng(0)
    for layer in (model.get_layer("encoder").get_layer("pointwise"), model.get_layer("head").layers[-1]):
        layer.enable_lora(2)
        for factor in layer.weights[-2:]:
            factor.assign(rng.normal(size=factor.shape))
    model.save(tmp_path / "model.keras")
    dead = keras.saving.load_model(tmp_path / "model.keras")
    assert len(lora.dead_layers(dead)) == 2 and lora.dead_layers(model) == []
    with pytest.raises(ValueError, match="Expected layers that can learn"):
        lora.save(dead, tmp_path / "never.npz")
    alive = lora.merge(dead)
    np.testing.assert_allclose(alive.predict(images()[0], verbose=0), model.predict(images()[0], verbose=0), atol=1e-5)
    lora.attach(alive, rank=2)
    losses = fit(compiled(alive, keras.optimizers.Adam(0.02)), epochs=4)
    assert losses[-1] < losses[0] and not lora.dead_layers(alive)


def test_layers_made_with_lora_merge_too():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, lora_rank=2, lora_alpha=8)])
    with pytest.raises(ValueError, match="Call `merge` first"):
        lora.attach(model, rank=2)
    assert lora.attach(lora.merge(model), rank=2).layers


def test_quantised_models_do_not_merge():
    model = nested()
    lora.attach(model, rank=2)
    model.get_layer("head").layers[-1].quantize("int8")
    with pytest.raises(ValueError, match="not quantised.*logits"):
        lora.merge(model)


# Keras's own files.


def attached(seed=0, **kwargs):
    model = nested(seed=seed)
    lora.attach(model, rank=2, alpha=3.0, **{"also_train": ["head", "stem_bn"], **kwargs})
    return compiled(model, keras.optimizers.Adam(0.02))


def trains(model):
    return [(weight.name, tuple(weight.shape)) for weight in model.trainable_weights]


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Stops the process, as it were, at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


@pytest.mark.parametrize("also_train", [["head", "stem_bn"], []])
def test_backup_and_restore_goes_on_as_if_never_interrupted(tmp_path, also_train):
    x, y = images()

    def run(model, *callbacks):
        return model.fit(x, y, epochs=5, shuffle=False, batch_size=8, verbose=0, callbacks=list(callbacks)).history

    whole = attached(also_train=also_train)
    expected = run(whole)["loss"]
    with pytest.raises(Killed):
        run(attached(also_train=also_train), keras.callbacks.BackupAndRestore(tmp_path / "backup"), Kill(2))
    keras.utils.set_random_seed(7)  # another process draws another A
    resumed = attached(also_train=also_train)
    found = run(resumed, keras.callbacks.BackupAndRestore(tmp_path / "backup"))["loss"]
    np.testing.assert_allclose(found, expected[2:], rtol=1e-6)
    for old, new in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert not lora.dead_layers(resumed) and trains(resumed) == trains(whole)


def test_load_model_brings_lora_back_and_training_goes_on(tmp_path):
    model = attached()
    fit(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trains(loaded) == trains(model) and not lora.dead_layers(loaded)
    assert loaded.get_layer("head").layers[-1].lora_enabled is False  # it trains fully
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_allclose(fit(loaded, epochs=3), fit(model, epochs=3), rtol=1e-6)
    lora.save(loaded, tmp_path / "adapter.npz")  # the frozen weights are bit for bit those of the base
    fresh = nested()
    lora.load(fresh, tmp_path / "adapter.npz")
    np.testing.assert_allclose(fresh.predict(images()[0]), model.predict(images()[0]), atol=1e-5)
    np.testing.assert_allclose(lora.merge(loaded).predict(images()[0]), model.predict(images()[0]), atol=1e-5)


def test_load_model_keeps_alpha_and_biases_still(tmp_path):
    """Embedding and Dense: Keras's `build` forgets alpha, and a file which weights of a layer train."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Conv1D(6, 3, padding="same", groups=2)(layers.Embedding(9, 6)(inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    lora.attach(model, rank=2, alpha=5.0, layers=["embedding.*", "dense.*"])
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trains(loaded) == trains(model) and len(trains(loaded)) == 4  # no bias, nothing in the convolution
    x = np.arange(20).reshape(4, 5) % 9
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    "attention", [lambda: layers.MultiHeadAttention(2, 3), lambda: layers.GroupQueryAttention(3, 2, 1)]
)
def test_a_frozen_attention_stays_frozen_in_a_file(tmp_path, attention):
    """Of Keras's own, the layers inside come back trainable."""
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, layers.Dense(CLASSES, name="logits")(attention()(inputs, inputs)))
    lora.attach(model, rank=2, layers="logits")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trains(loaded) == trains(model) and len(trains(model)) == 2
    lora.save(loaded, tmp_path / "adapter.npz")
    fresh = keras.models.clone_model(lora.merge(model))
    fresh.set_weights(lora.merge(model).get_weights())
    assert len(fresh.trainable_weights) == 10
    lora.load(fresh, tmp_path / "adapter.npz")
    fresh.save(tmp_path / "again.keras")
    assert trains(keras.saving.load_model(tmp_path / "again.keras")) == trains(model)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras tries failed layers again
def test_lora_that_a_config_does_not_describe_never_comes_back_as_full_training(tmp_path):
    model = sequence()
    lora.attach(model, rank=2)
    compiled(model, keras.optimizers.Adam(0.02))
    x, y = np.arange(20).reshape(4, 5) % 9, np.zeros((4, 5), int)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "last.keras")])
    with pytest.raises(ValueError, match="expected 2 variables, but received . variables during loading"):
        keras.saving.load_model(tmp_path / "last.keras")
    again = sequence()
    lora.attach(again, rank=2)
    compiled(again, keras.optimizers.Adam(0.5))
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "last.keras")
    assert trains(again) == trains(model)
    expected = model.fit(x, y, epochs=2, verbose=0).history["loss"]
    np.testing.assert_allclose(again.fit(x, y, epochs=2, verbose=0).history["loss"], expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras tries failed layers again
def test_files_with_lora_and_without_do_not_mix(tmp_path):
    plain, model = nested(), attached()
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.save_weights(tmp_path / "lora.weights.h5")
    with pytest.raises(ValueError, match="Expected A and B of the LoRA on '(stem|pointwise)'.*before `attach`"):
        model.load_weights(tmp_path / "plain.weights.h5")
    with pytest.raises(ValueError, match="expected 2 variables, but received 5"):
        plain.load_weights(tmp_path / "lora.weights.h5")
    other = nested()
    lora.attach(other, rank=2, alpha=4.0, also_train=["head", "stem_bn"])
    with pytest.raises(ValueError, match="alpha 4.0 .*received alpha 3.0"):
        other.load_weights(tmp_path / "lora.weights.h5")
