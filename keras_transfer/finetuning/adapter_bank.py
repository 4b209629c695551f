"""Several LoRA adapters on one base, served together: each row of a batch goes through its own."""

import functools

import keras

from keras_transfer.finetuning.adapter_file import (
    adapter_variables,
    arrange,
    check_base,
    layout,
    read_adapter,
    shapes_in_file,
    unpack,
)
from keras_transfer.finetuning.lora_layers import attached_layers


class AdapterBank(keras.Model):
    """Serves several adapters over one frozen base, chosen for each row by an `adapter_id`.

    Base variables are there once; A, B, head, normalisation and statistics once for each adapter. Rows are sorted by
    id inside the graph and run through their adapter. It only infers and exports, and needs TensorFlow.

    Input: `{input_name: (batch, ...), "adapter_id": (batch,) int}`, ids from 0 in the order of `paths`; others
    raise `tf.errors.InvalidArgumentError`. Output: the model's, one tensor (batch, ...).

    Args:
        model: built model without LoRA, as for `lora.load`. The bank takes it over.
        paths: adapter files from `lora.save`, one or more, on the same base with LoRA of the same rank on the same
            layers, and the same other layers trained. Their alphas may differ.
        input_name: name of the model's input.

    Raises:
        ValueError: adapters that do not fit the model, as for `lora.load`, or differ from one another.

    Example:
    ```python
    bank = kt.finetuning.AdapterBank(base, ["german.npz", "french.npz"])
    x = {"images": images, "adapter_id": np.array([0, 1], "int32")}
    kt.export(bank, "saved_models/letters", x)
    ```
    """

    def __init__(self, model, paths, input_name="images", **kwargs):
        super().__init__(dtype="float32", **kwargs)  # parts of the model keep their own policies
        paths = list(paths)
        if not paths or attached_layers(model):
            raise ValueError(f"Expected a model without LoRA and 1 or more adapters; received {model.name!r}, {paths}.")
        files = [read_adapter(path, model) for path in paths]
        for meta, path in zip(files, paths):
            check_base(model, meta, path)
            if layout(meta) != layout(files[0]):
                raise ValueError(
                    f"Expected adapters with the same rank, layers and trained weights; {path} and {paths[0]} differ."
                )
        self.meta = {**files[0], "layers": [[*layer[:3], layer[2]] for layer in files[0]["layers"]]}
        shapes = shapes_in_file(model, self.meta)
        arrange(model, self.meta)
        model.trainable = False
        self.model, self.input_name, self.adapters = model, input_name, []
        for number, (meta, path) in enumerate(zip(files, paths)):
            arrays = unpack(path, shapes)
            for layer, (_, _, rank, alpha) in enumerate(meta["layers"]):
                arrays[f"b_{layer}"] *= alpha / rank
            own = []
            for name, variable in adapter_variables(model, meta).items():
                weight = self.add_weight(
                    variable.shape, "zeros", variable.dtype, trainable=False, name=f"adapter_{number}_{name}"
                )
                weight.assign(arrays[name])
                own.append(weight)
            self.adapters.append(own)
        self.supports_jit = False  # XLA knows no partitions of unknown size
        self.built = True

    def call(self, inputs, training=False):
        """Computes the model's output for each row with its adapter; never in training mode."""
        import tensorflow as tf

        x, ids, count = inputs[self.input_name], inputs["adapter_id"], len(self.adapters)
        message = f"Expected adapter_id from 0 to {count - 1}."
        checks = [
            tf.debugging.assert_non_negative(ids, message),
            tf.debugging.assert_less(ids, tf.cast(count, ids.dtype), message),
        ]
        with tf.control_dependencies([check for check in checks if check is not None]):
            parts = tf.dynamic_partition(tf.range(tf.size(ids)), tf.cast(ids, "int32"), count)
        specs = keras.tree.map_structure(lambda value: keras.KerasTensor((None, *value.shape[1:]), value.dtype.name), x)
        output = self.model.compute_output_spec(specs, training=False)

        def run(part, own):
            values = [weight.value for weight in own]
            with keras.StatelessScope(list(zip(adapter_variables(self.model, self.meta).values(), values))):
                return self.model(keras.tree.map_structure(lambda value: tf.gather(value, part), x), training=False)

        def nothing():  # not only to save time: convolutions of no rows can fail
            return tf.zeros((0, *output.shape[1:]), output.dtype)

        outputs = [
            tf.cond(tf.size(part) > 0, functools.partial(run, part, own), nothing)
            for part, own in zip(parts, self.adapters)
        ]
        return tf.dynamic_stitch(parts, outputs)
