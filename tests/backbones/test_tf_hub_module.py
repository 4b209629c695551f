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
