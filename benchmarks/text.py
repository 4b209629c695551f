"""What text costs: `python -m benchmarks.text`.

Tokens: `kt.layers.WordPiece` with the vocabulary of MiniLM on the questions of TREC, 32 at a time, traced as a server
runs it; sentences in a second.

Masked language modelling through `fit`: `kt.models.MaskedLanguageModel` on the encoder of keras_hub's own
`MaskedLM` task of BERT (2 blocks of 128, 6,000 tokens), against that task, both on rows of 64 token ids with 10 hidden
ones, in batches of 32; rows in a second, and their ratio. Masks are made beforehand: both get the same batches.
Reads KERAS_TRANSFER_DATA and needs the extra `text`. Prints, and writes results/text_costs.json.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import keras_transfer as kt
from benchmarks import timing

VOCABULARY, LENGTH, HIDDEN, BATCH = 6000, 64, 10, 32
SMALL = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 512, "max_sequence_length": LENGTH}


def sentences(rounds):
    """Returns how many sentences are cut into tokens in a second."""
    layer = kt.backbones.minilm().get_layer("word_pieces")
    texts = list(kt.datasets.trec("train").questions)[: 32 * 160]
    batches = [tf.constant(texts[i : i + 32]) for i in range(0, len(texts), 32)]
    served = tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])

    def all_texts():
        for batch in batches:
            served(batch)

    return timing.medians(timing.per_second(timing.turns({"word_piece": all_texts}, rounds).seconds, len(texts)))


def backbone():
    """Returns keras_hub's BERT."""
    import keras_hub

    return keras_hub.models.BertBackbone(VOCABULARY, dropout=0.0, **SMALL)


def ours():
    """Returns the method on that encoder."""
    inner = backbone()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, VOCABULARY))]
    words = kt.layers.WordPiece(vocabulary, LENGTH)
    encoder = kt.backbones.from_keras_hub(inner, preprocessor=words, pooling="avg").get_layer("encoder")
    return kt.models.MaskedLanguageModel(encoder)


def theirs():
    """Returns keras_hub's task."""
    import keras_hub

    return keras_hub.models.BertMaskedLM(backbone(), preprocessor=None)


def batches(steps):
    """Returns the same batches for both, in the form of each."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, VOCABULARY, (steps * BATCH, LENGTH)).astype("int32")
    positions = np.argsort(rng.random(ids.shape), axis=1)[:, :HIDDEN].astype("int32")
    y, weights = np.take_along_axis(ids, positions, axis=1), np.ones(positions.shape, "float32")
    np.put_along_axis(ids, positions, 4, axis=1)
    filled = {"segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids), "mask_positions": positions}
    forms = {"ours": {"text": {"token_ids": ids, "positions": positions}}, "keras_hub": {"token_ids": ids, **filled}}
    return {
        name: kt.streams.prefetched(tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(BATCH).cache())
        for name, x in forms.items()
    }


def masked(rounds, steps):
    """Returns rows in a second of both, and their ratio."""
    data, models = batches(steps), {"ours": ours(), "keras_hub": theirs()}
    for model in models.values():
        loss = {} if model is models["ours"] else {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
        model.compile(optimizer=keras.optimizers.AdamW(1e-4), weighted_metrics=[], jit_compile=False, **loss)
    arms = {name: lambda name=name: models[name].fit(data[name], shuffle=False, verbose=0) for name in models}
    rates = timing.per_second(timing.turns(arms, rounds).seconds, steps * BATCH)
    return {"rows_per_second": timing.medians(rates), "ratio": timing.compared(rates, "ours", "keras_hub")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds of each arm")
    parser.add_argument("--steps", type=int, default=20, help="training steps of a round")
    parser.add_argument("--output", default="results/text_costs.json", help="the JSON file to write")
    arguments = parser.parse_args()
    found = {"sentences_per_second": sentences(arguments.rounds)["word_piece"]}
    timing.write({**found, "masked": masked(arguments.rounds, arguments.steps)}, arguments.output)
