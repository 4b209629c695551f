"""Weights from files: h5py reads the arrays that must have arrived."""

import contextlib

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_transfer.backbones.weights import LoadedWeights, load_weights_file


def network(classes=3, prefix="", depth=2):
    return keras.Sequential(
        [keras.Input((4,))]
        + [layers.Dense(6, name=f"{prefix}hidden_{i}" if prefix else None) for i in range(depth)]
        + [layers.BatchNormalization(name=f"{prefix}norm" if prefix else None)]
        + [layers.Dense(classes, name=f"{prefix}head" if prefix else None)],
        name="net" if prefix else None,
    )


def shuffled(model, seed=0):
    """The model with random values everywhere, zeros of biases and ones of scales too."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def save_keras_2(model, path, names=None, weight_name="{layer}/{variable}:0", group=None):
    """Writes the layout of Keras 2 by hand: a group for each layer, its arrays listed in `weight_names`."""
    with h5py.File(path, "w") as file:
        root = file if group is None else file.create_group(group)
        owners = [layer for layer in model.layers if layer.weights]
        names = names or [layer.name for layer in owners]
        root.attrs["layer_names"] = [name.encode() for name in ["input_1", *names]]
        root.create_group("input_1").attrs["weight_names"] = []
        for name, layer in zip(names, owners):
            keys = [weight_name.format(layer=name, variable=v.name, index=i) for i, v in enumerate(layer.weights)]
            root.create_group(name).attrs["weight_names"] = [key.encode() for key in keys]
            for key, variable in zip(keys, layer.weights):
                root[name][key] = variable.numpy()


def arrived(model, result, path):
    """Checks every reported pair against the file itself."""
    variables = {variable.path: variable for variable in model.weights}
    with h5py.File(path) as file:
        for variable, array in result.loaded:
            np.testing.assert_array_equal(variables[variable].numpy(), file[array][()])
    return len(result.loaded)


def weights_of(model):
    return {variable.path: variable.numpy() for variable in model.weights}


@contextlib.contextmanager
def refused(model, match):
    """What happens inside must be refused, and change no weight of the model."""
    before = weights_of(model)
    with pytest.raises(ValueError, match=match) as error:
        yield error
    for path, value in weights_of(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


@pytest.mark.parametrize("prefix", ["", "net_"])
def test_a_whole_keras_3_file(tmp_path, prefix):
    path = tmp_path / "net.weights.h5"
    original, model = (shuffled(network(prefix=prefix), seed) for seed in (0, 1))
    original.save_weights(path)
    result = load_weights_file(model, path)
    for ours, theirs in zip(model.get_weights(), original.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert arrived(model, result, path) == len(model.weights) == 10
    assert result[1:] == ([], [], [])
    assert str(result) == "Loaded 10 of 10 variables."


@pytest.mark.parametrize("prefix", ["", "net_"])
def test_another_head(tmp_path, prefix):
    path = tmp_path / "net.weights.h5"
    shuffled(network(prefix=prefix)).save_weights(path)
    model = network(classes=5, prefix=prefix)
    before = weights_of(model)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 8
    head = model.layers[-1]
    assert result.mismatched == [(head.kernel.path, (6, 5), (6, 3)), (head.bias.path, (5,), (3,))]
    np.testing.assert_array_equal(head.kernel.numpy(), before[head.kernel.path])
    assert f"Of another shape in the file: {head.kernel.path} (6, 5), not (6, 3)" in str(result)


def test_names_find_layers_of_a_shorter_model_at_another_position(tmp_path):
    path = tmp_path / "net.weights.h5"
    original = shuffled(network(prefix="net_", depth=4))
    original.save_weights(path)
    late = [original.get_layer(f"net_hidden_{i}") for i in (2, 3)]
    model = keras.Sequential([keras.Input((6,))] + [layers.Dense(6, name=layer.name) for layer in late])
    result = load_weights_file(model, path)
    for layer, theirs in zip(model.layers, late):
        np.testing.assert_array_equal(layer.kernel.numpy(), theirs.kernel.numpy())
    assert not result.missing and len(result.unused) == 2 * 2 + 4 + 2


def test_nested_and_flat_models_share_a_file(tmp_path):
    def towers():
        inputs = keras.Input((4,))
        return keras.Model(inputs, layers.Dense(3, name="top")(network(prefix="net_")(inputs)))

    nested, flat = tmp_path / "nested.weights.h5", tmp_path / "flat.weights.h5"
    original = shuffled(towers())
    original.save_weights(nested)
    model = network(prefix="net_")
    result = load_weights_file(model, nested)
    assert arrived(model, result, nested) == 10
    assert result.unused == ["layers/dense/vars/0", "layers/dense/vars/1"]
    model.save_weights(flat)
    again = towers()
    result = load_weights_file(again, flat)
    assert arrived(again, result, flat) == 10
    assert result.missing == ["top/kernel", "top/bias"]


def test_layers_inside_layers(tmp_path):
    def attention(first):
        inputs = x = keras.Input((5, 8))
        for i in range(first, 3):
            x = layers.MultiHeadAttention(2, 4, name=f"block_{i}_attention")(x, x)
        return keras.Model(inputs, x)

    path = tmp_path / "attention.weights.h5"
    original, model = shuffled(attention(0)), attention(1)
    original.save_weights(path)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 16
    for i in (1, 2):
        for ours, theirs in zip(*(m.get_layer(f"block_{i}_attention").get_weights() for m in (model, original))):
            np.testing.assert_array_equal(ours, theirs)
    assert len(result.unused) == 8 and not result.missing


def test_a_file_without_names(tmp_path):
    path = tmp_path / "net.weights.h5"
    shuffled(network(prefix="net_", depth=3)).save_weights(path)
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    model = network(prefix="net_", depth=2)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 8
    assert result.mismatched == [("net/net_head/kernel", (6, 3), (6, 6)), ("net/net_head/bias", (3,), (6,))]


def test_a_layer_that_lacks_a_variable_is_left_alone(tmp_path):
    def normalized(**kwargs):
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(4, name="dense_a"), layers.BatchNormalization(name="bn_a", **kwargs)],
            name="net",
        )

    path = tmp_path / "net.weights.h5"
    shuffled(normalized()).save_weights(path)
    model = normalized(scale=False)  # by order alone its offset would get the file's scale, of equal shape
    before = weights_of(model)
    result = load_weights_file(model, path)
    assert result.mismatched == [("layers/batch_normalization/vars/3", None, (4,))]
    assert [name for name, _ in result.loaded] == ["net/dense_a/kernel", "net/dense_a/bias"]
    assert result.missing == ["net/bn_a/beta", "net/bn_a/moving_mean", "net/bn_a/moving_variance"]
    np.testing.assert_array_equal(model.get_layer("bn_a").beta.numpy(), before["net/bn_a/beta"])


def test_an_optimizer_in_the_file_is_no_weight(tmp_path):
    path = tmp_path / "net.weights.h5"
    model = network(prefix="net_")
    model.compile("adam", "mse")
    model.train_on_batch(np.zeros((2, 4)), np.zeros((2, 3)))
    model.save_weights(path)
    result = load_weights_file(network(prefix="net_"), path)
    assert len(result.loaded) == 10 and not result.unused


def test_bfloat16(tmp_path):
    path = tmp_path / "net.weights.h5"

    def make():
        return keras.Sequential([keras.Input((4,)), layers.Dense(3, name="head", dtype="bfloat16")])

    original, model = shuffled(make()), make()
    original.save_weights(path)
    load_weights_file(model, path)
    for ours, theirs in zip(model.get_weights(), original.get_weights()):
        np.testing.assert_array_equal(ours.astype("float32"), theirs.astype("float32"))
    assert np.abs(theirs.astype("float32")).max() > 0


@pytest.mark.parametrize("group", [None, "model_weights"])
@pytest.mark.parametrize("weight_name", ["{layer}/{variable}:0", "uniform{index}"])
def test_a_whole_keras_2_file(tmp_path, group, weight_name):
    path = tmp_path / "net.h5"
    original, model = (shuffled(network(prefix="net_"), seed) for seed in (0, 1))
    names = [layer.name.replace("net_", "net/") for layer in original.layers]  # as Keras 2 allowed
    save_keras_2(original, path, names, group=group, weight_name=weight_name)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 10
    for ours, theirs in zip(model.get_weights(), original.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_a_keras_2_file_with_made_up_names(tmp_path):
    path = tmp_path / "net.h5"
    original, model = (shuffled(network(), seed) for seed in (0, 1))
    # The first name is that of the model's second layer: by name alone the weights would be swapped.
    save_keras_2(original, path, names=[model.layers[1].name, "dense_9", "batch_normalization", "dense_10"])
    assert arrived(model, load_weights_file(model, path), path) == 10
    for ours, theirs in zip(model.get_weights(), original.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_a_keras_2_file_of_a_longer_model(tmp_path):
    path = tmp_path / "net.h5"
    save_keras_2(shuffled(network(prefix="net_", depth=3)), path)
    model = network(prefix="net_", classes=5)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 8
    assert [name for name, *_ in result.mismatched] == ["net/net_head/kernel", "net/net_head/bias"]
    assert result.unused == ["net_hidden_2/net_hidden_2/kernel:0", "net_hidden_2/net_hidden_2/bias:0"]


def test_a_keras_2_file_of_another_model_never_matches_by_position(tmp_path):
    path = tmp_path / "net.h5"
    save_keras_2(shuffled(network(prefix="net_", depth=3)), path)
    twins = [keras.Sequential([keras.Input((6,)), layers.Dense(6, name="twin")]) for _ in range(2)]
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(6, name="net_hidden_1")(twins[1](twins[0](inputs))))
    result = load_weights_file(model, path)
    assert [array for _, array in result.loaded] == [f"net_hidden_1/net_hidden_1/{v}:0" for v in ("kernel", "bias")]
    assert len(result.missing) == 4


def test_what_keras_itself_writes_in_the_old_format(tmp_path):
    def make():
        inputs = keras.Input((5, 8))
        x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
        return keras.Model(inputs, layers.Dense(2, name="head")(network_of_steps(x)))

    def network_of_steps(x):
        inner = keras.Sequential(
            [keras.Input((5, 8)), layers.Dense(8, name="step"), layers.BatchNormalization(name="bn")]
        )
        inner.trainable = False  # moves nothing in the order of its variables
        return inner(x)

    path = tmp_path / "net.h5"
    original, model = shuffled(make()), make()
    original.save_weights(tmp_path / "net.weights.h5")
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, original)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == len(model.weights) == 16
    for ours, theirs in zip(model.weights, original.weights):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


@pytest.mark.filterwarnings("ignore")  # tf_keras has its own
@pytest.mark.parametrize("name", ["net.h5", "whole.h5", "net.weights.h5"])
def test_what_keras_2_writes(name, tmp_path):
    tf_keras = pytest.importorskip("tf_keras")

    def make(library):
        inner = library.Sequential([library.Input((6,)), library.layers.Dense(6, name="step"), library.layers.Dense(5)])
        inputs = library.Input((4,))
        x = library.layers.BatchNormalization(name="norm")(library.layers.Dense(6, name="first")(inputs))
        return library.Model(inputs, library.layers.Dense(3)(inner(x)))

    original, model = make(tf_keras), make(keras)
    rng = np.random.default_rng(0)
    original.set_weights([rng.uniform(size=w.shape) for w in original.get_weights()])
    (original.save if name == "whole.h5" else original.save_weights)(str(tmp_path / name))
    result = load_weights_file(model, tmp_path / name)
    assert arrived(model, result, tmp_path / name) == len(original.weights) == 12
    x = rng.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(model(x), original(x).numpy(), rtol=1e-5)


def squeezenet():
    """SqueezeNet 1.1 without its classifier; input BGR minus the ImageNet mean."""
    inputs = keras.Input((64, 64, 3))
    x = layers.Conv2D(64, 3, strides=2, activation="relu", name="conv1")(inputs)
    x = layers.MaxPooling2D(3, 2)(x)
    for fire, (squeeze, expand) in enumerate([(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2, 2):
        if fire in (4, 6):
            x = layers.MaxPooling2D(3, 2)(x)
        s = layers.Conv2D(squeeze, 1, activation="relu", name=f"fire{fire}_squeeze1x1")(x)
        parts = [
            layers.Conv2D(expand, k, padding="same", activation="relu", name=f"fire{fire}_expand{k}x{k}")(s)
            for k in (1, 3)
        ]
        x = layers.Concatenate()(parts)
    return keras.Model(inputs, x)


def weights_folder(data_folder):
    folder = data_folder / "weights"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: it holds pretrained weights")
    return folder


def test_squeezenet(data_folder):
    path = weights_folder(data_folder) / "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
    model = squeezenet()
    result = load_weights_file(model, path)
    arrays = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: arrays.append(item.name) if isinstance(item, h5py.Dataset) else None)
    assert arrived(model, result, path) == len(model.weights) == len(arrays) == 50
    assert result[1:] == ([], [], [])


def test_mobilenet_longer_than_its_file(data_folder):
    path = weights_folder(data_folder) / "mobilenet_v1_1.0_to_conv_pw_12.weights.h5"
    model = keras.applications.MobileNet(weights=None, input_shape=(64, 64, 3), include_top=False)
    result = load_weights_file(model, path)
    assert arrived(model, result, path) == 125
    assert len(result.missing) == 10 and all("_13" in name for name in result.missing)


def test_a_file_that_matches_nothing(tmp_path):
    path = tmp_path / "net.weights.h5"
    network(prefix="net_").save_weights(path)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(9, name="other")])
    with refused(model, "matches nothing. Loaded 0 of 2 variables") as error:
        load_weights_file(model, path)
    assert "other/kernel" in str(error.value) and "layers/dense/vars/0" in str(error.value)


def test_a_truncated_file_changes_nothing(tmp_path):
    path = tmp_path / "net.weights.h5"
    shuffled(network(prefix="net_")).save_weights(path)
    path.write_bytes(path.read_bytes()[:-4000])
    model = network(prefix="net_")
    with refused(model, "to be a complete HDF5 file; received: .*truncated"):
        load_weights_file(model, path)


def test_wrong_files(tmp_path):
    model = network()
    with pytest.raises(FileNotFoundError, match="none.h5', which does not exist"):
        load_weights_file(model, tmp_path / "none.h5")
    with pytest.raises(ValueError, match="Expected a `.weights.h5` or `.h5` file; received 'net.keras'"):
        load_weights_file(model, "net.keras")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="to be a complete HDF5 file"):
        load_weights_file(model, tmp_path / "text.h5")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(ValueError, match="which holds none"):
        load_weights_file(model, tmp_path / "data.h5")


# What a file may not do.


def secret(folder):
    """Another file of the machine: numbers that are nobody's weights."""
    value = np.random.default_rng(7).normal(size=(4, 6)).astype("float32")
    (folder / "secret.bin").write_bytes(value.tobytes())
    with h5py.File(folder / "secret.h5", "w") as file:
        file["stolen"] = value
    return folder


def external(group, key, folder):
    group.create_dataset(key, (4, 6), "f4", external=[(str(folder / "secret.bin"), 0, 96)])


def virtual(group, key, folder):
    layout = h5py.VirtualLayout((4, 6), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "stolen", (4, 6), "f4")
    group.create_virtual_dataset(key, layout)


def external_link(group, key, folder):
    group[key] = h5py.ExternalLink(str(folder / "secret.h5"), "stolen")


def soft_link(group, key, folder):
    group.file["elsewhere"] = np.zeros((4, 6), "f4")
    group[key] = h5py.SoftLink("/elsewhere")


@pytest.mark.parametrize("layout", ["keras 3", "keras 2", "whole keras 2 model"])
@pytest.mark.parametrize(
    "steal, words",
    [
        (external, "data set .*in the file '.*secret.bin'"),
        (virtual, "virtual data set"),
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
    ],
)
def test_what_lies_elsewhere_is_refused(tmp_path, layout, steal, words):
    original, model = (shuffled(network(prefix="net_"), seed) for seed in (0, 1))
    if layout == "keras 3":
        path, place = tmp_path / "net.weights.h5", "layers/dense/vars/0"
        original.save_weights(path)
    else:
        path, group = tmp_path / "net.h5", "model_weights" if layout.startswith("whole") else None
        place = f"{group or ''}/net_hidden_0/net_hidden_0/kernel:0"
        save_keras_2(original, path, group=group)
    with h5py.File(path, "a") as file:
        parent, _, key = place.rpartition("/")
        assert file[place].shape == (4, 6)
        del file[place]
        steal(file[parent], key, secret(tmp_path))
    with refused(model, f"to hold its weights itself; received the {words}"):
        load_weights_file(model, path)


@pytest.mark.parametrize("place", ["layers/dense", "layers", "layers/dense/vars"])
def test_a_group_that_is_a_link_is_refused(tmp_path, place):
    path, other = tmp_path / "net.weights.h5", tmp_path / "other.weights.h5"
    for seed, file in enumerate((path, other)):
        shuffled(network(prefix="net_"), seed).save_weights(file)
    with h5py.File(path, "a") as file:
        del file[place]
        file[place] = h5py.ExternalLink(str(other), place)
    with pytest.raises(ValueError, match=f"ExternalLink '{place}'"):
        load_weights_file(network(prefix="net_"), path)


@pytest.mark.parametrize(
    "value", [np.full((6, 3), b"text"), np.full((6, 3), 1j), np.zeros((6, 3), [("a", "f4"), ("b", "f4")])]
)
def test_all_is_converted_before_the_first_is_assigned(tmp_path, value):
    path = tmp_path / "net.weights.h5"
    shuffled(network(prefix="net_")).save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/dense_2/vars/0"]
        file["layers/dense_2/vars/0"] = value
    model = network(prefix="net_")
    with refused(model, "numbers for net/net_head/kernel; received layers/dense_2/vars/0 of the type"):
        load_weights_file(model, path)


def test_an_array_that_cannot_be_read_changes_nothing(tmp_path):
    """The last layer's bytes are damaged under a checksum of HDF5."""
    path = tmp_path / "net.h5"
    model = network(prefix="net_")
    save_keras_2(shuffled(network(prefix="net_")), path)
    with h5py.File(path, "a") as file:
        group, value = file["net_head/net_head"], np.arange(18, dtype="f4").reshape(6, 3)
        del group["kernel:0"]
        place = (
            group.create_dataset("kernel:0", data=value, chunks=(6, 3), fletcher32=True)
            .id.get_chunk_info(0)
            .byte_offset
        )
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    with refused(model, "to be a complete HDF5 file"):
        load_weights_file(model, path)


def test_broken_lists_in_a_keras_2_file(tmp_path):
    path = tmp_path / "net.h5"
    model = network(prefix="net_")
    for change in (
        lambda file: file.attrs.create("layer_names", 3),
        lambda file: file["net_head"].attrs.create("weight_names", [b"net_head"]),
    ):
        save_keras_2(shuffled(network(prefix="net_")), path)
        with h5py.File(path, "a") as file:
            change(file)
        with refused(model, "to be a complete HDF5 file"):
            load_weights_file(model, path)


def test_wrong_models(tmp_path):
    path = tmp_path / "net.weights.h5"
    model = network()
    model.save_weights(path)
    with pytest.raises(ValueError, match="Expected a model that is built"):
        load_weights_file(keras.Sequential([layers.Dense(3)]), path)
    model.layers[0].enable_lora(2)
    with pytest.raises(ValueError, match="before LoRA is attached"):
        load_weights_file(model, path)


def test_a_long_report_is_cut():
    result = LoadedWeights([], [f"layer_{i}/kernel" for i in range(12)], [], [])
    assert str(result).endswith("layer_9/kernel and 2 more.")
