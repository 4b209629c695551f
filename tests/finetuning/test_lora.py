import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from keras_transfer.finetuning import lora

CLASSES = 3


def images(rows=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1.0, 2.0, size=(rows, 8, 8, 2)).astype("float32"), rng.integers(0, CLASSES, rows)


def encoder(dropout=0.0):
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, strides=2, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="pointwise")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="encoder")


def head():
    return keras.Sequential([keras.Input((8,)), layers.Dense(CLASSES, name="logits")], name="head")


def nested(dropout=0.0, seed=0):
    """A classifier whose encoder and head are models; the same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((8, 8, 2)), encoder(dropout), head()], name="classifier")
    statistics = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(weight.numpy() + statistics.uniform(0, 0.3, weight.shape))
    return model


def compiled(model, optimizer=None):
    model.compile(optimizer or "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit(model, epochs=2):
    x, y = images()
    return model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0).history["loss"]


def adapted(path=None, seed=0, rank=2, alpha=3.0, also_train=("head", "stem_bn")):
    """A model whose LoRA, head and normalisation, statistics too, have moved somewhere, as if trained."""
    model = nested(seed=0)
    lora.attach(model, rank, alpha, also_train=also_train)
    rng = np.random.default_rng(seed)
    statistics = model.get_layer("encoder").get_layer("stem_bn").weights[2:] if "stem_bn" in also_train else []
    for weight in model.trainable_weights + statistics:
        weight.assign(weight.numpy() + rng.uniform(0, 0.5, weight.shape))
    if path is not None:
        lora.save(model, path)
    return model


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


# Saving, loading, resuming.


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, lambda rate: keras.optimizers.SGD(rate, momentum=0.9)])
def test_training_goes_on_as_if_never_interrupted(tmp_path, optimizer):
    def start():
        return nested(dropout=0.3)

    whole = start()
    lora.attach(whole, rank=2, alpha=4.0, also_train=["head", "stem_bn"])
    fit(compiled(whole, optimizer(0.02)), epochs=2)
    lora.save(whole, tmp_path / "adapter")
    expected = fit(whole, epochs=3)

    keras.utils.set_random_seed(7)
    resumed = compiled(start(), optimizer(0.5))  # the file's learning rate holds
    assert lora.load(resumed, tmp_path / "adapter") is True
    assert [w.shape for w in resumed.trainable_weights] == [w.shape for w in whole.trainable_weights]
    np.testing.assert_allclose(fit(resumed, epochs=3), expected, rtol=1e-6)
    for old, new in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert not lora.dead_layers(resumed)


def test_a_method_resumes_with_its_step(tmp_path):
    def start():
        keras.utils.set_random_seed(0)
        model = kt.models.DAN(encoder(0.2), head(), mmd_weight=kt.schedules.DannRamp(8))
        model.build((None, 8, 8, 2))
        return model

    batch = {"source": images()[0], "target": images(seed=1)[0]}, images()[1]
    whole = start()
    lora.attach(whole, rank=2, also_train="head")
    compiled(whole)
    for _ in range(3):
        whole.train_on_batch(*batch)
    lora.save(whole, tmp_path / "adapter.npz")
    resumed = compiled(start())
    lora.load(resumed, tmp_path / "adapter.npz")
    assert resumed.step.numpy() == 3
    for _ in range(3):
        assert resumed.train_on_batch(*batch) == pytest.approx(whole.train_on_batch(*batch), rel=1e-6)
    merged = lora.merge(resumed)
    assert isinstance(merged, kt.models.DAN) and merged.step.numpy() == 6
    np.testing.assert_allclose(merged(images()[0]), resumed(images()[0]), atol=1e-5)


def test_loading_for_inference_and_into_the_same_lora(tmp_path):
    model = adapted(tmp_path / "one.npz")
    fresh = nested()
    assert lora.load(fresh, tmp_path / "one.npz") is False
    np.testing.assert_array_equal(fresh.predict(images()[0], verbose=0), model.predict(images()[0], verbose=0))
    old = model.get_weights()
    fit(compiled(model), epochs=1)
    lora.load(model, tmp_path / "one.npz")
    for weight, value in zip(model.weights, old):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_loading_errors(tmp_path):
    model = compiled(adapted())
    model.train_on_batch(*images())
    lora.save(model, tmp_path / "one.npz")
    with pytest.raises(ValueError, match="frozen weights .* differ"):
        lora.load(nested(seed=1), tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"Expected the architecture of .*\(8, 3\); 'classifier' has \(8, 2\)"):
        other = keras.Sequential([keras.Input((8, 8, 2)), encoder(), keras.Sequential([layers.Dense(2)])])
        other.build((None, 8, 8, 2))
        other.name = "classifier"
        lora.load(other, tmp_path / "one.npz")
    with pytest.raises(ValueError, match="other layers, rank or alpha"):
        model = nested()
        lora.attach(model, rank=1)
        lora.load(model, tmp_path / "one.npz")
    with pytest.raises(ValueError, match="Expected the optimizer Adam.*received SGD"):
        lora.load(compiled(nested(), "sgd"), tmp_path / "one.npz")
    with pytest.raises(ValueError, match="a new optimizer.*Compile again"):
        model = compiled(nested(), keras.optimizers.Adam(0.0))
        model.train_on_batch(*images())
        model.set_weights(nested().get_weights())
        lora.load(model, tmp_path / "one.npz")
    with pytest.raises(ValueError, match="its optimizer differs"):
        lora.load(compiled(nested(), keras.optimizers.Adam(amsgrad=True)), tmp_path / "one.npz")
    with pytest.raises(ValueError, match="Expected a built model"):
        lora.load(keras.Sequential([layers.Dense(2)]), tmp_path / "one.npz")
    with pytest.raises(FileNotFoundError, match="none.npz, which does not exist"):
        lora.load(nested(), tmp_path / "none.npz")
    (tmp_path / "text").write_text("no adapter")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    nested().save(tmp_path / "model.keras")
    for name in ("text", "arrays.npz", "model.keras", "."):
        with pytest.raises(ValueError, match="Expected an adapter file from `lora.save`"):
            lora.load(nested(), tmp_path / name)


def test_saving_replaces_nothing_unasked_and_leaves_nothing_beside(tmp_path):
    model = adapted(tmp_path / "one.npz")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        lora.save(model, tmp_path / "one.npz")
    lora.save(model, tmp_path / "one.npz", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]


def test_a_thawed_kernel_is_refused(tmp_path):
    model = nested()
    lora.attach(model, rank=2)
    model.trainable = False
    model.trainable = True
    with pytest.raises(ValueError, match="Expected frozen kernels.*pointwise"):
        lora.save(model, tmp_path / "never.npz")


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


# Several adapters in one model.


def test_each_row_gets_its_adapter_in_process_and_served(tmp_path):
    models = [adapted(tmp_path / f"{i}.npz", seed=i, alpha=1.0 + i) for i in range(3)]
    bank = lora.AdapterBank(nested(), [tmp_path / f"{i}.npz" for i in range(3)])
    x = images(rows=7)[0]
    each = np.stack([lora.merge(model).predict(x, verbose=0) for model in models])
    assert np.abs(each[0] - each[1]).max() > 1e-2
    for ids in ([0, 2, 2, 1, 0, 1, 2], [2] * 7):
        output = bank({"images": x, "adapter_id": np.array(ids, "int32")})
        np.testing.assert_allclose(output, each[ids, range(7)], atol=1e-5)
    np.testing.assert_allclose(bank({"images": x[:1], "adapter_id": np.array([1])}), each[1, :1], atol=1e-5)
    served = bank.predict({"images": x, "adapter_id": np.array([0, 2, 2, 1, 0, 1, 2])}, verbose=0)
    np.testing.assert_allclose(served, each[[0, 2, 2, 1, 0, 1, 2], range(7)], atol=1e-5)
    base = lora.parameters(nested()).model
    own = lora.parameters(models[0]).adapter + 8 * CLASSES + CLASSES + 4 * 6
    x = {"images": x, "adapter_id": np.array([0, 2, 2, 1, 0, 1, 2], "int32")}
    version = kt.export(bank, tmp_path / "bank", x, classes="abc")
    stored = kt.serving.verify(version, bank, x).stored
    sizes = {weight.path: weight.numpy().size for weight in bank.weights}
    assert sum(sizes[path] for path in stored) == base - (8 * CLASSES + CLASSES + 4 * 6) + 3 * own
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    for wrong in (3, -1):
        ids = np.array([0, 2, wrong, 1, 0, 1, 2], "int32")
        for function in (bank, lambda inputs: serve(**inputs)):
            with pytest.raises(tf.errors.InvalidArgumentError, match="Expected adapter_id from 0 to 2"):
                function({"images": tf.constant(x["images"]), "adapter_id": tf.constant(ids)})


def test_a_bank_refuses_adapters_that_differ(tmp_path):
    adapted(tmp_path / "one.npz")
    adapted(tmp_path / "rank.npz", rank=1)
    adapted(tmp_path / "norm.npz", also_train="head")
    for other in ("rank.npz", "norm.npz"):
        with pytest.raises(ValueError, match="Expected adapters with the same"):
            lora.AdapterBank(nested(), [tmp_path / "one.npz", tmp_path / other])
    with pytest.raises(ValueError, match="1 or more adapters"):
        lora.AdapterBank(nested(), [])
    with pytest.raises(ValueError, match="without LoRA"):
        lora.AdapterBank(adapted(), [tmp_path / "one.npz"])
    with pytest.raises(ValueError, match="frozen weights"):
        lora.AdapterBank(nested(seed=1), [tmp_path / "one.npz"])
