"""What fine-tuning costs: cached features, LoRA from end to end, mixed precision: `python -m benchmarks.finetuning`.

MobileNet up to its twelfth block at 128 x 128 on PACS art_painting, from KERAS_TRANSFER_DATA (`pacs/`, `weights/`).
- cached features: an epoch of training a head through the frozen backbone against one on `backbones.cached_features`,
  both by `fit` on the same images in batches of 32; beside them the one pass that computes the features.
- LoRA: the loss after 2 epochs against 1 epoch, saved, loaded into a new model, and 1 more; the export of the merged
  model against the model with the adapter, and its time for 32 images against that of the plain model's export.
- mixed precision: a training step of all weights under each dtype policy.
Prints, and writes results/finetuning.json.
"""

import argparse
import os
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_transfer as kt
from benchmarks import timing

WEIGHTS = "weights/mobilenet_v1_1.0_to_conv_pw_12.weights.h5"


def classifier(seed=0, optimizer="adam"):
    """Returns MobileNet with its pretrained weights and a new head for 7 classes, compiled."""
    keras.utils.set_random_seed(seed)
    weights = pathlib.Path(os.environ["KERAS_TRANSFER_DATA"], WEIGHTS)
    backbone = kt.backbones.from_applications("MobileNet", weights, (128, 128, 3), layer="conv_pw_12_relu")
    model = keras.Sequential([backbone, layers.Dense(7, name="logits")])
    compile_model(model, optimizer)
    return model


def compile_model(model, optimizer="adam"):
    """Compiles for integer labels."""
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def compared(arms, rounds, arm, floor):
    """Times two arms and compares them; returns the paired ratios and the medians in seconds."""
    seconds = timing.turns(arms, rounds).seconds
    medians = {f"{name}_seconds": value for name, value in timing.medians(seconds).items()}
    return {**timing.compared(seconds, arm, floor), **medians}


def cached_features(images, labels, rounds):
    """Times an epoch through the backbone against one on cached features."""
    model = classifier()
    backbone, head = model.layers[0], keras.models.clone_model(model.layers[1])
    backbone.trainable = False
    compile_model(model)
    backbone.predict(images[:64], verbose=0)
    start = time.perf_counter()
    features = kt.backbones.cached_features(backbone, images, verbose=False)
    extraction = time.perf_counter() - start
    head = keras.Sequential([keras.Input(features.shape[1:]), head])
    compile_model(head)
    arms = {
        "through_the_backbone": lambda: model.fit(images, labels, batch_size=32, verbose=0),
        "cached": lambda: head.fit(features, labels, batch_size=32, verbose=0),
    }
    result = compared(arms, rounds, "through_the_backbone", "cached")
    return {**result, "extraction_seconds": extraction, "images": len(images)}


def adapted(seed=0):
    """Returns the classifier with LoRA of rank 8 on all convolutions; head and BatchNormalization train too."""
    model = classifier(seed)
    attached = kt.finetuning.lora.attach(model, rank=8, also_train=["(.*/)?logits", ".*_bn"])
    compile_model(model)
    return model, attached


def lora(images, labels, rounds):
    """Resumes, merges, exports and serves an adapter."""
    few, truth = images[::16], labels[::16]

    def train(model, epoch):
        return model.fit(few, truth, batch_size=32, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0)

    model, attached = adapted()
    train(model, 0)
    with tempfile.TemporaryDirectory() as folder:
        adapter, merged_path, plain_path = (f"{folder}/{name}" for name in ("adapter.npz", "merged", "plain"))
        kt.finetuning.lora.save(model, adapter)
        loss = train(model, 1).history["loss"][0]
        again = classifier()
        kt.finetuning.lora.load(again, adapter)
        resumed = train(again, 1).history["loss"][0]
        merged, plain = kt.finetuning.lora.merge(model), classifier()
        kt.export(merged, merged_path, few)
        kt.export(plain, plain_path, few)
        served = {name: tf.saved_model.load(f"{folder}/{name}/1") for name in ("merged", "plain")}
        call = {name: model.signatures["serving_default"] for name, model in served.items()}
        logits = call["merged"](images=tf.constant(few))["logits"].numpy()
        stored = {name: tf.train.list_variables(f"{folder}/{name}/1/variables/variables") for name in served}
        batch = tf.constant(images[:32])
        arms = {name: lambda call=call[name]: [call(images=batch) for _ in range(4)] for name in call}
        return {
            "uninterrupted_loss": loss,
            "resumed_loss": resumed,
            "largest_difference_merged": float(np.abs(logits - model.predict(few, verbose=0)).max()),
            "stored_variables": {name: len(names) - 1 for name, names in stored.items()},  # without the object graph
            "adapter_parameters": attached.parameters.adapter,
            "adapter_share": attached.parameters.share,
            "adapter_file_megabytes": os.path.getsize(adapter) / 1e6,
            "latency": compared(arms, rounds, "merged", "plain"),
        }


def mixed_precision(images, labels, rounds):
    """Times a training step of all weights under each policy."""
    arms = {}
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        model = classifier()
        arms[policy] = lambda model=model: model.train_on_batch(images[:32], labels[:32])
    keras.config.set_dtype_policy("float32")
    seconds = timing.turns(arms, rounds).seconds
    medians = timing.medians(seconds)
    return {
        policy: {
            **timing.compared(seconds, policy, "float32"),
            **{f"{name}_seconds": medians[name] for name in (policy, "float32")},
        }
        for policy in list(arms)[1:]
    }


def main(rounds, output):
    """Measures, prints, writes."""
    images, labels = kt.datasets.pacs("art_painting")
    load = [os.getloadavg()[0]]
    result = {
        "cached_features": cached_features(images, labels, 3),
        "lora": lora(images, labels, rounds),
        "mixed_precision": mixed_precision(images, labels, max(3, rounds // 4)),
    }
    load.append(os.getloadavg()[0])
    timing.write({**result, "load_average": load}, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="timed rounds of each export (default: 40)")
    parser.add_argument("--output", type=pathlib.Path, default="results/finetuning.json", help="where to write")
    main(**vars(parser.parse_args()))
