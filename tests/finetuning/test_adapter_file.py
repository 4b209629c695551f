import io
import json
import tracemalloc
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_transfer as kt
from keras_transfer.finetuning import lora
from keras_transfer.finetuning.adapter_file import META
from keras_transfer.finetuning.lora_layers import attached_layers
from tests.finetuning.adapters import adapted, compiled, encoder, fit, head, images, nested


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


# Files from others.


def changed(path, **arrays):
    """Puts other arrays into an adapter file; `meta` is a function that changes what it says of itself."""
    with np.load(path) as file:
        content = dict(file)
    meta = arrays.pop("meta", None)
    if meta:
        said = json.loads(str(content[META]))
        meta(said)
        content[META] = json.dumps(said)
    np.savez_compressed(path, **{**content, **arrays})


def peak_of_refusal(path, words):
    model = nested()
    before = model.get_weights()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            lora.load(model, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [layer.path for layer in attached_layers(model)] == [] and len(model.weights) == len(before)
    return peak


BOMB = 100_000_000  # bytes, from a file of a thousandth


@pytest.mark.parametrize("name", ["a_0", "weight_0", "another", "seed_0"])
def test_an_array_larger_than_the_models_is_not_unpacked(tmp_path, name):
    path = tmp_path / "one.npz"
    adapted(path)
    with np.load(path) as file:
        name = (
            name
            if name in file.files or name in ("another", "seed_0")
            else next(f for f in file.files if "weight" in f)
        )
    changed(path, **{name: np.zeros(BOMB // 4, "float32")})
    assert path.stat().st_size < BOMB / 500
    assert peak_of_refusal(path, "larger than the model allows|the model or its optimizer differs") < BOMB / 20


def test_an_optimizer_that_nobody_wants_is_not_unpacked(tmp_path):
    path = tmp_path / "one.npz"
    model = compiled(adapted())
    model.train_on_batch(*images())
    lora.save(model, path)
    changed(path, optimizer_2=np.zeros(BOMB // 4, "float32"))
    tracemalloc.start()
    assert lora.load(nested(), path) is False
    assert tracemalloc.get_traced_memory()[1] < BOMB / 20
    tracemalloc.stop()
    with pytest.raises(ValueError, match="optimizer_2, which is larger than the model allows"):
        lora.load(compiled(nested()), path)


def test_what_a_file_says_of_itself_is_bounded_too(tmp_path):
    path = tmp_path / "one.npz"
    adapted(path)
    changed(path, **{META: np.array("0" * (BOMB // 4))})
    assert peak_of_refusal(path, "Expected an adapter file") < BOMB / 20


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda meta: meta["layers"][0].__setitem__(2, 10**9), "rank 1000000000 is above"),
        (lambda meta: meta["layers"][0].__setitem__(2, 2.0), "which is damaged"),
        (lambda meta: meta["layers"][0].__setitem__(3, float("nan")), "which is damaged"),
        (lambda meta: meta["layers"][0].__setitem__(0, 99), "which is damaged"),
        (lambda meta: meta["layers"].append(meta["layers"][0]), "which is damaged"),
        (lambda meta: meta["weights"].append(999), "which is damaged"),
        (lambda meta: meta["weights_train"].pop(), "which is damaged"),
        (lambda meta: meta.pop("base"), "which is damaged"),
        (lambda meta: meta.pop("layers"), "which is none"),
    ],
)
def test_a_damaged_description_changes_nothing(tmp_path, change, words):
    path = tmp_path / "one.npz"
    adapted(path)
    changed(path, meta=change)
    peak_of_refusal(path, words)


def test_objects_and_broken_zips_are_refused(tmp_path):
    path = tmp_path / "one.npz"
    adapted(path)
    whole = path.read_bytes()
    changed(path, a_0=np.array([{}], object))
    peak_of_refusal(path, "Object arrays cannot be loaded")
    path.write_bytes(whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        place = archive.getinfo("b_0.npy").header_offset + 200
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    peak_of_refusal(path, "received: .*Bad CRC")


def test_a_bank_is_bounded_too(tmp_path):
    for name in ("one.npz", "two.npz"):
        adapted(tmp_path / name)
    changed(tmp_path / "two.npz", a_0=np.zeros(BOMB // 4, "float32"))
    with pytest.raises(ValueError, match="a_0, which is larger than the model allows"):
        kt.finetuning.AdapterBank(nested(), [tmp_path / "one.npz", tmp_path / "two.npz"])
