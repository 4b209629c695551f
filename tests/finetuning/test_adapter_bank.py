import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt
from keras_transfer.finetuning import lora
from tests.finetuning.adapters import CLASSES, adapted, images, nested


def test_each_row_gets_its_adapter_in_process_and_served(tmp_path):
    models = [adapted(tmp_path / f"{i}.npz", seed=i, alpha=1.0 + i) for i in range(3)]
    bank = kt.finetuning.AdapterBank(nested(), [tmp_path / f"{i}.npz" for i in range(3)])
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
    version = kt.export(bank, tmp_path / "bank", x, classes="abc", verify=False)
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
            kt.finetuning.AdapterBank(nested(), [tmp_path / "one.npz", tmp_path / other])
    with pytest.raises(ValueError, match="1 or more adapters"):
        kt.finetuning.AdapterBank(nested(), [])
    with pytest.raises(ValueError, match="without LoRA"):
        kt.finetuning.AdapterBank(adapted(), [tmp_path / "one.npz"])
    with pytest.raises(ValueError, match="frozen weights"):
        kt.finetuning.AdapterBank(nested(seed=1), [tmp_path / "one.npz"])
