import io
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.backbones.tf_hub_module import describe, load, make, unpack


def test_variables_that_are_no_weights_and_tables_travel_too(tmp_path):
    """Made in another order than listed, one listed nowhere, a table, two of one name."""
    module = tf.train.Checkpoint()
    module.hidden, first, second = (tf.Variable([value], name="w") for value in (2.0, 3.0, 5.0))
    keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], [7.0, 11.0])
    module.table = tf.lookup.StaticHashTable(keys, 0.0)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def call(text):
        return (module.table.lookup(text)[:, None] * second + first) * module.hidden

    module.__call__, module.variables = call, [second, first]
    tf.saved_model.save(module, str(tmp_path / "module"))
    loaded, packed = load(str(tmp_path / "module"))
    own = [make(describe(variable, True)) for variable in loaded.variables]
    again = unpack(packed, own)
    for variable, value in zip(own, (5.0, 4.0)):
        variable.assign([value])
    np.testing.assert_array_equal(again(tf.constant(["b", "a", "c"])), [[118.0], [78.0], [8.0]])
    np.testing.assert_array_equal(loaded(tf.constant(["b"])), [[116.0]])
    with pytest.raises(RuntimeError, match="onto the variables given"):
        unpack(packed, [*own, tf.Variable(0.0)])


def packed_with(packed, **changes):
    """A pack with other files in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            if name not in changes:
                copy.writestr(name, archive.read(name))
        for name, content in changes.items():
            copy.writestr(name, content)
    return buffer.getvalue()


def test_a_pack_that_unpacks_to_more_than_it_may_is_refused(tmp_path):
    module = tf.train.Checkpoint()
    module.variables = [tf.Variable(tf.ones(2000), name="w")]  # above KEPT_BYTES: its values are not packed
    module.__call__ = tf.function(lambda x: x * module.variables[0], input_signature=[tf.TensorSpec((None, 2000))])
    tf.saved_model.save(module, str(tmp_path / "module"))
    loaded, packed = load(str(tmp_path / "module"))
    own = [make(describe(variable, True)) for variable in loaded.variables]
    bomb = packed_with(packed, **{"assets/bomb": bytes(200_000_000)})
    assert len(bomb) < 1_000_000
    with pytest.raises(ValueError, match="received .* bytes that hold 200"):
        unpack(bomb, own)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        contents = json.loads(archive.read("contents.json"))
    assert [held for *_, held in contents["entries"]].count(True) == 1
    for entry in contents["entries"]:
        entry[2] = [10**12] if entry[3] else entry[2]
    with pytest.raises(ValueError, match="received one with 1000000000000 numbers"):
        unpack(packed_with(packed, **{"contents.json": json.dumps(contents)}), own)
    assert unpack(packed, own).variables[0] is own[0]


def test_a_module_of_an_asset_that_packs_well_travels(tmp_path):
    module = tf.train.Checkpoint()
    (tmp_path / "words").write_bytes(bytes(70 << 20))
    module.words, module.variables = tf.saved_model.Asset(str(tmp_path / "words")), []
    module.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec((None,))])
    tf.saved_model.save(module, str(tmp_path / "module"))
    _, packed = load(str(tmp_path / "module"))
    np.testing.assert_array_equal(unpack(packed)(tf.constant([1.0])), [1.0])
