import io
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.backbones import tf_hub
from keras_transfer.backbones.tf_hub import HubLayer, from_hub

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (8, 6, 6, 3)).astype("uint8")
LABELS = np.arange(8) % 3


@pytest.fixture(scope="module")
def handle(tmp_path_factory):
    """A module in TF Hub's reusable form: a dense layer with BatchNormalization, in two modes, with a regulariser."""
    kernel = tf.Variable(rng.normal(size=(3, 4)).astype("float32"), name="dense/kernel")
    gamma, beta = tf.Variable(tf.ones(4), name="bn/gamma"), tf.Variable(tf.zeros(4), name="bn/beta")
    moving_mean = tf.Variable(tf.zeros(4), trainable=False, name="bn/moving_mean")
    moving_variance = tf.Variable(tf.ones(4), trainable=False, name="bn/moving_variance")

    @tf.function
    def call(image, training=False):
        x = tf.reduce_mean(image, (1, 2)) @ kernel
        mean, variance = moving_mean, moving_variance
        if training:
            mean, variance = tf.nn.moments(x, 0)
            moving_mean.assign(0.9 * moving_mean + 0.1 * mean)
            moving_variance.assign(0.9 * moving_variance + 0.1 * variance)
        return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

    for training in (True, False):
        call.get_concrete_function(tf.TensorSpec((None, None, None, 3), name="image"), training=training)
    module = tf.train.Checkpoint()
    module.__call__ = call
    module.trainable_variables = [beta, gamma, kernel]
    module.variables = [beta, gamma, kernel, moving_mean, moving_variance]
    module.regularization_losses = [tf.function(lambda: 0.5 * tf.reduce_sum(kernel**2), input_signature=())]
    folder = tmp_path_factory.mktemp("hub") / "normalized"
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.fixture(scope="module")
def text_handle(tmp_path_factory):
    """A module from strings to several outputs."""
    scale = tf.Variable(2.0, name="scale", trainable=False)
    module = tf.train.Checkpoint()
    module.variables = [scale]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def call(text):
        length = tf.cast(tf.strings.length(text), "float32")[:, None] * scale
        return {"pooled_output": length, "sequence_output": length[:, None, :]}

    module.__call__ = call
    folder = tmp_path_factory.mktemp("hub") / "outputs"
    tf.saved_model.save(module, str(folder))
    return folder


def classifier(backbone, optimizer="adam", run_eagerly=False):
    model = keras.Sequential([backbone, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, run_eagerly=run_eagerly)
    return model


def moved(layer, train):
    """Names of the weights that `train()` changes."""
    before = [weight.numpy() for weight in layer.weights]
    train()
    return {w.name for w, old in zip(layer.weights, before) if not np.array_equal(w.numpy(), old)}


def test_features_are_those_of_the_module(handle):
    module = tf.saved_model.load(str(handle))
    for x in (IMAGES, IMAGES.astype("float32")):
        expected = module(x.astype("float32") / 255, training=False)
        np.testing.assert_allclose(from_hub(handle).predict(x, verbose=0), expected, atol=1e-6)
    expected = module(IMAGES.astype("float32") / 127.5 - 1, training=False)
    np.testing.assert_allclose(from_hub(handle, input_range=(-1, 1)).predict(IMAGES, verbose=0), expected, atol=1e-5)
    expected = module(IMAGES.astype("float32"), training=False)
    np.testing.assert_allclose(from_hub(handle, input_range=None).predict(IMAGES, verbose=0), expected, rtol=1e-5)


def test_paths_name_the_variables(handle):
    layer = HubLayer(handle, trainable=True, name="hub")
    assert [w.path for w in layer.trainable_weights] == ["hub/bn/beta", "hub/bn/gamma", "hub/dense/kernel"]
    assert {w.path for w in layer.non_trainable_weights} == {"hub/bn/moving_mean", "hub/bn/moving_variance"}


def test_the_summary_shows_the_paths_that_patterns_need(handle):
    model, lines = from_hub(handle, trainable=True), []
    kt.finetuning.train_only(model, ".*hub/bn/.*")
    kt.finetuning.summary(model, lines.append)
    rows = [line.split() for line in lines[1:-1]]
    assert [row[:4] for row in rows if "HubLayer" in row] == [
        ["hub/bn", "HubLayer", "16", "8"],  # gamma and beta of four; the statistics beside them
        ["hub/dense", "HubLayer", "12", "0"],
    ]
    kt.finetuning.train_only(model, [f"{row[0]}/.*" for row in rows if "HubLayer" in row])
    assert len(model.trainable_weights) == 3


EVERYTHING = {"kernel", "gamma", "beta", "moving_mean", "moving_variance"}


@pytest.mark.parametrize(
    "optimizer", ["adam", lambda: keras.optimizers.SGD(0.1, momentum=0.9), lambda: keras.optimizers.AdamW(0.1)]
)
def test_training_moves_every_weight(handle, optimizer):
    model = classifier(from_hub(handle, trainable=True), optimizer if isinstance(optimizer, str) else optimizer())
    layer = model.layers[0].get_layer("hub")
    assert moved(layer, lambda: model.fit(IMAGES, LABELS, epochs=2, verbose=0)) == EVERYTHING
    assert moved(layer, lambda: model.predict(IMAGES, verbose=0)) == set()
    assert moved(layer, lambda: model.evaluate(IMAGES, LABELS, verbose=0)) == set()


def test_statistics_move_as_the_module_says(handle):
    model = classifier(from_hub(handle, trainable=True), keras.optimizers.SGD(0.0))
    layer = model.layers[0].get_layer("hub")
    kernel = next(w for w in layer.weights if w.name == "kernel").numpy()
    model.train_on_batch(IMAGES, LABELS)
    mean = next(w for w in layer.weights if w.name == "moving_mean").numpy()
    np.testing.assert_allclose(mean, 0.1 * (IMAGES.mean((1, 2)) / 255 @ kernel).mean(0), rtol=1e-4)


def test_statistics_can_be_estimated_anew(handle):
    layer = from_hub(handle, trainable=True).get_layer("hub")
    weights = {w.name: w for w in layer.weights}
    hidden = IMAGES.mean((1, 2)) / 255 @ weights["kernel"].numpy()
    kt.finetuning.reestimate_batch_norm(layer, IMAGES / np.float32(255))
    np.testing.assert_allclose(weights["moving_mean"].numpy(), hidden.mean(0), rtol=1e-3)
    np.testing.assert_allclose(weights["moving_variance"].numpy(), hidden.var(0), rtol=1e-3)


def test_frozen_weights_stay_bit_for_bit(handle):
    model = classifier(from_hub(handle))
    assert moved(model.layers[0], lambda: model.fit(IMAGES, LABELS, epochs=2, verbose=0)) == set()
    model = classifier(from_hub(handle, trainable=True, statistics="moving"))
    assert moved(model.layers[0], lambda: model.fit(IMAGES, LABELS, epochs=2, verbose=0)) == {"kernel"}
    model.trainable = True  # Keras then thaws every variable, but not a frozen BatchNormalization
    model.compile("adam", "sparse_categorical_crossentropy")
    assert moved(model.layers[0], lambda: model.fit(IMAGES, LABELS, verbose=0)) == {"kernel"}


def test_regularisation_counts_while_the_weights_train(handle):
    kernel = tf.saved_model.load(str(handle)).trainable_variables[-1].numpy()
    for trainable, expected in ((True, 0.5 * (kernel**2).sum()), (False, 0.0)):
        backbone = from_hub(handle, trainable=trainable)
        backbone(IMAGES)
        np.testing.assert_allclose(sum(backbone.losses), expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_runs_the_module_in_float32(handle, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = classifier(from_hub(handle, trainable=True))
        assert model.layers[0](IMAGES).dtype == "float32"
        assert model(IMAGES).dtype == policy.removeprefix("mixed_")
        assert moved(model.layers[0], lambda: model.fit(IMAGES, LABELS, epochs=3, verbose=0)) == EVERYTHING
    finally:
        keras.config.set_dtype_policy(before)


def test_jit(handle):
    twins = []
    for jit in (True, False):
        keras.utils.set_random_seed(0)
        model = classifier(from_hub(handle, trainable=True))
        model.compile(keras.optimizers.SGD(0.1), model.loss, jit_compile=jit)
        model.fit(IMAGES, LABELS, epochs=2, verbose=0)
        twins.append(model.get_weights())
    for a, b in zip(*twins):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_clones_keep_trained_weights(handle):
    model = classifier(from_hub(handle, trainable=True))
    model.fit(IMAGES, LABELS, verbose=0)
    clone = keras.models.clone_model(model.layers[0])
    np.testing.assert_array_equal(clone.predict(IMAGES, verbose=0), model.layers[0].predict(IMAGES, verbose=0))
    clone.set_weights([0 * w for w in clone.get_weights()])
    assert all(np.any(w.numpy()) for w in model.layers[0].weights)  # weights of its own


LOAD = """
import sys
import keras, numpy as np, keras_transfer
import tests  # so that graphs are rewritten, or not, as here
path, x, y, saved = sys.argv[1:]
try:
    keras.saving.load_model(path)
    print("loaded in safe mode")
except ValueError as error:
    print("refused" if "safe_mode=False" in str(error) else error)
model = keras.saving.load_model(path, safe_mode=False)
images = np.load(x)
print("difference", np.abs(model.predict(images, verbose=0) - np.load(y)).max())
model.train_on_batch(images, np.arange(len(images)) % 3)
print("kernel", model.layers[0].get_layer("hub").trainable_weights[-1].path)
model.save(saved)
"""


def reload_elsewhere(run_python, model, handle, images, folder):
    """Saves the model, deletes the module's folder, and loads the file in a fresh process; returns what it prints."""
    model.save(folder / "model.keras")
    np.save(folder / "x.npy", images)
    np.save(folder / "y.npy", model.predict(images, verbose=0))
    shutil.rmtree(handle)
    paths = [str(folder / name) for name in ("model.keras", "x.npy", "y.npy", "again.keras")]
    return run_python("-c", LOAD, *paths)


def test_the_file_needs_nothing_but_itself(handle, run_python, tmp_path):
    folder = shutil.copytree(handle, tmp_path / "copy")
    model = classifier(from_hub(folder, trainable=True))
    model.fit(IMAGES, LABELS, verbose=0)
    model.layers[0].get_layer("hub").trainable_weights[0].trainable = False  # beta
    printed = reload_elsewhere(run_python, model, folder, IMAGES, tmp_path).split("\n")
    assert printed[0] == "refused"
    assert float(printed[1].split()[1]) <= 1e-6
    model.train_on_batch(IMAGES, LABELS)
    resumed = keras.saving.load_model(tmp_path / "again.keras", safe_mode=False)
    assert [w.name for w in resumed.layers[0].trainable_weights] == ["gamma", "kernel"]
    assert [w.name for w in model.layers[0].trainable_weights] == ["gamma", "kernel"]


@pytest.fixture
def elsewhere(monkeypatch):
    """As in another process: no layer of this one is known."""
    return lambda: monkeypatch.setattr(tf_hub, "_LAYERS", {})


def test_training_goes_on_from_a_file(handle, elsewhere, tmp_path):
    """The optimizer is made before the module is there: both have to hold the same variables."""
    model = classifier(from_hub(handle, trainable=True), keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(IMAGES, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    elsewhere()
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    for _ in range(2):
        np.testing.assert_allclose(loaded.train_on_batch(IMAGES, LABELS), model.train_on_batch(IMAGES, LABELS), 1e-6)
    for old, new in zip(model.weights, loaded.weights):
        assert old.name == new.name and old is not new
        np.testing.assert_allclose(new, old, atol=1e-6)
    kt.export(loaded, tmp_path / "served", IMAGES, verify=False)
    assert len(kt.serving.verify(tmp_path / "served", loaded, IMAGES).stored) == 7


def test_the_module_is_an_asset_and_the_config_small(handle, tmp_path):
    model = classifier(from_hub(handle))
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        (asset,) = [name for name in archive.namelist() if name.startswith("assets/")]
        with zipfile.ZipFile(io.BytesIO(archive.read(asset))) as module:
            assert {"saved_model.pb", "contents.json"} < set(module.namelist())
        assert "saved_model" not in archive.read("config.json").decode()
        assert archive.getinfo("config.json").file_size < 12_000 < archive.getinfo(asset).file_size + 12_000
    layer = model.layers[0].get_layer("hub")
    names = [variable["name"] for variable in layer.get_config()["variables"]]
    assert names == ["bn/beta", "bn/gamma", "dense/kernel", "bn/moving_mean", "bn/moving_variance"]


def with_asset(file, content, changed):
    """A copy of a `.keras` file with another module in it, or none."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            if not name.startswith("assets/"):
                copy.writestr(name, archive.read(name))
            elif content is not None:
                copy.writestr(name, content)
    return changed


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras tries failed layers again
@pytest.mark.parametrize("content", [b"another", None])
def test_another_module_in_the_file_is_refused(handle, elsewhere, tmp_path, content):
    model = from_hub(handle)
    expected = model.predict(IMAGES, verbose=0)
    model.save(tmp_path / "model.keras")
    changed = with_asset(tmp_path / "model.keras", content, tmp_path / "changed.keras")
    # Where its layer lives, a file loads in safe mode: with this process's module, and nothing in the file runs.
    np.testing.assert_array_equal(keras.saving.load_model(changed).predict(IMAGES, verbose=0), expected)
    elsewhere()
    with pytest.raises(ValueError, match="in the file's assets|to have its module"):
        keras.saving.load_model(changed, safe_mode=False).predict(IMAGES, verbose=0)


def test_a_config_alone_does_not_run(handle, elsewhere):
    model = from_hub(handle)
    config = model.get_config()
    elsewhere()
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.Model.from_config(config)
    described = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model), safe_mode=False)
    assert described.output_shape == (None, 4)
    assert [w.path for w in described.weights] == [w.path for w in model.weights]
    with pytest.raises(ValueError, match="to have its module; received none"):
        described(IMAGES)
    with pytest.raises(ValueError, match="Expected inputs of 'hub' that it had seen.*received 'float32 .9, 9, 3.'"):
        described.get_layer("hub")(keras.Input((9, 9, 3)))


def test_strings_and_outputs_by_key(text_handle):
    words = np.array(["a", "abc"])
    backbone = from_hub(text_handle, output_key="pooled_output")
    np.testing.assert_array_equal(backbone.predict(tf.constant(words), verbose=0), [[2.0], [6.0]])
    with pytest.raises(ValueError, match=r"choose one of the outputs \['pooled_output', 'sequence_output'\]"):
        from_hub(text_handle)
    with pytest.raises(ValueError, match="an output 'hidden'.*received .'pooled_output', 'sequence_output'."):
        from_hub(text_handle, output_key="hidden")
    with pytest.raises(ValueError, match="features .batch, dim."):
        from_hub(text_handle, output_key="sequence_output")


def test_export_and_verify(handle, tmp_path):
    model = classifier(from_hub(handle, trainable=True))
    model.fit(IMAGES, LABELS, verbose=0)
    kt.export(model, tmp_path / "model", IMAGES, verify=False)
    stored = kt.serving.verify(tmp_path / "model", model, IMAGES).stored
    assert len(stored) == 7


REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf, keras_transfer as kt
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
def make(encoder=None):
    encoder = encoder or kt.backbones.from_hub(sys.argv[1], trainable=True, statistics="moving")
    model = keras.Sequential([encoder, keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
def make_from_file():
    return make(keras.saving.load_model(sys.argv[2], safe_mode=False))
rng = np.random.default_rng(0)
batches = [(rng.integers(0, 256, (8, 6, 6, 3)).astype("uint8"), np.arange(8) % 3) for _ in range(3)]
print(*(kt.testing.check_replicas(function, batches, strategy) for function in (make, make_from_file)))
"""


def test_cached_features_find_their_file(handle, tmp_path):
    for _ in range(2):
        kt.backbones.cached_features(from_hub(handle), IMAGES, folder=tmp_path, verbose=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_replicas_equal_one(handle, run_python, tmp_path):
    from_hub(handle, trainable=True, statistics="moving").save(tmp_path / "encoder.keras")
    printed = run_python("-c", REPLICAS, str(handle), str(tmp_path / "encoder.keras")).split("\n")[-2]
    differences = [float(word) for word in printed.split()]
    assert len(differences) == 2 and max(differences) <= 1e-5


def test_other_weights_are_refused(handle):
    backbone = from_hub(handle)
    with pytest.raises(ValueError, match="run on its own weights; received others"):
        backbone.stateless_call([], [w.value + 1 for w in backbone.non_trainable_variables], IMAGES)


def test_bad_handles(handle, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Expected a folder, or a handle of TF Hub; received 'nowhere'"):
        from_hub("nowhere")
    with pytest.raises(ValueError, match="without `saved_model.pb`"):
        from_hub(tmp_path)
    served = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    served.export(tmp_path / "served", verbose=False)
    with pytest.raises(ValueError, match="reusable form"):
        from_hub(tmp_path / "served")
    with pytest.raises(ValueError, match="inputs of shape .None, None, 3.*received .6, 6, 1."):
        from_hub(handle, input_shape=(6, 6, 1))
    with pytest.raises(ValueError, match='`statistics` to be "batch" or "moving"; received \'off\''):
        from_hub(handle, statistics="off")
    monkeypatch.setenv("KERAS_TRANSFER_DATA", str(tmp_path))
    shutil.copytree(handle, tmp_path / "hub" / "normalized")
    assert from_hub("normalized").output_shape == (None, 4)


@pytest.fixture
def pretrained(data_folder, tmp_path):
    """A copy of MobileNet's folder that may be deleted."""
    folder = data_folder / "hub/mobilenet_v1_pw12_feature_vector"
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in hub/ of KERAS_TRANSFER_DATA")
    folder = shutil.copytree(folder, tmp_path / "hub", copy_function=shutil.copyfile)
    for part in (folder, folder / "variables"):
        part.chmod(0o755)
    return folder


def test_a_pretrained_module(pretrained, run_python, record, tmp_path):
    """MobileNet: every one of its 75 trainable variables learns, however it trains, and its file stands alone."""
    images = rng.integers(0, 256, (8, 64, 64, 3)).astype("uint8")
    ways = {
        "SGD with momentum": ("float32", keras.optimizers.SGD(0.1, momentum=0.9)),
        "mixed_float16": ("mixed_float16", "adam"),
        "Adam": ("float32", "adam"),
    }
    learned = {}
    for way, (policy, optimizer) in ways.items():
        keras.config.set_dtype_policy(policy)
        try:
            model = classifier(from_hub(pretrained, trainable=True), optimizer, run_eagerly=way != "Adam")
            layer = model.layers[0].get_layer("hub")
            before = [w.numpy() for w in layer.trainable_weights]
            model.fit(images, LABELS, epochs=3, verbose=0)
        finally:
            keras.config.set_dtype_policy("float32")
        learned[way] = sum(not np.array_equal(w.numpy(), old) for w, old in zip(layer.trainable_weights, before))
    printed = reload_elsewhere(run_python, model, pretrained, images, tmp_path).split("\n")
    difference = float(printed[1].split()[1])
    record("hub", {"trainable_variables_that_learn": learned, "largest_difference_moved_file": difference})
    assert learned == dict.fromkeys(ways, 75)
    assert printed[0] == "refused" and difference <= 1e-6
