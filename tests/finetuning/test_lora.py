import keras
import numpy as np
import pytest
from keras import layers

from keras_transfer.finetuning import lora
from tests.finetuning.adapters import CLASSES, adapted, compiled, fit, images, nested


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


def test_keras_loads_dead_adapters_and_merging_revives(tmp_path):
    model = adapted()
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
