import json

import numpy as np
import pytest

from keras_transfer.recipes import own_texts, pretrain_text

pytest.importorskip("keras_hub")


def config(folder, **change):
    folders = {name: folder / name for name in ("runs", "saved_models", "results")}
    quick = {"seeds": (0, 1), "steps": 20, "few_steps": 3, "labels": 40, "vocabulary": 300, "dim": 16, "blocks": 1}
    return pretrain_text.Config(**{**folders, **quick, "length": 16, "batch_size": 16, **change})


@pytest.fixture
def few(monkeypatch):
    """Fewer texts than every installation has."""
    data, classes = own_texts.load("docstrings")
    small = {
        name: (x[:600] if name == "train" else x[:100], y[:600] if name == "train" else y[:100])
        for name, (x, y) in data.items()
    }
    monkeypatch.setattr(own_texts, "load", lambda *_: (small, classes))
    monkeypatch.setattr(pretrain_text, "FEW_RATES", (1e-3,))


def test_a_short_run(tmp_path, few):
    record = pretrain_text.main(config(tmp_path))
    assert set(record["runs"]) == {"before", "after", "tf_idf"} and record["baselines"] == ["before", "tf_idf"]
    means = record["extra"]["pretraining_means"]
    assert {"token_accuracy", "unigram_accuracy", "bigram_accuracy", "perplexity"} <= set(means)
    assert np.isfinite(list(means.values())).all() and means["perplexity"] < 300  # tokens
    assert max(record["extra"]["export"]["differences"].values()) < 1e-4
    written = json.loads((tmp_path / "results/pretrain_text/docstrings_masked_small.json").read_text())
    assert written["means"] == record["means"]


@pytest.mark.parametrize("objective, told", [("denoising", "copying_accuracy"), ("simcse", "seconds")])
def test_other_objectives(tmp_path, few, objective, told):
    settings = config(tmp_path, objective=objective)
    texts, data, classes = pretrain_text.load(settings)
    tokens = pretrain_text.word_pieces(settings, texts)
    found, networks = pretrain_text.pretrain(settings, texts, tokens, 0)
    assert found[told] > 0 and all(np.isfinite(value) for value in found["training"].values())
    moved = [np.abs(a - b).max() for a, b in zip(*(network.get_weights() for network in networks.values()))]
    assert max(moved) > 1e-4
    told = pretrain_text.few_labels(settings, tokens, networks["after"], data, 0, len(classes))
    assert 0 < told["precision_at_10"] < 1 and told["rate"] in pretrain_text.FEW_RATES


def test_own_files(tmp_path, few):
    lines = [f"the {a} sees the {b}" for a in ("cat", "dog", "owl", "cow") for b in ("sea", "sky", "sun", "hay")]
    (tmp_path / "notes.txt").write_text("\n".join(lines * 20) + "\n\n", encoding="utf-8")
    texts, _, _ = pretrain_text.load(config(tmp_path, files=(tmp_path / "notes.txt",)))
    assert len(texts) == 320 and texts[0] == "the cat sees the sea"


def test_predictors_that_count():
    """A language in which b follows a, and a is the most frequent token."""
    import keras_transfer as kt

    tokens = kt.layers.WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"], 8)
    texts = np.array(["a b a c"] * 40, object)
    settings = pretrain_text.Config(length=8, batch_size=8)

    def test():
        return kt.streams.masked_text(texts, tokens, 8, 8, rate=0.3, seed=0)

    found = pretrain_text.counting(settings, tokens, texts, test())
    right = total = 0.0
    for _, y, weights in test().as_numpy_iterator():
        right += ((y == 5) * weights).sum()
        total += weights.sum()
    assert found["unigram_accuracy"] == pytest.approx(right / total)
    assert found["bigram_accuracy"] > found["unigram_accuracy"]
    scrambled = kt.streams.scrambled_text(texts, tokens, 8, 8, 0.0, 0.0, 1, False, seed=0)
    assert pretrain_text.copying(scrambled) == {"copying_accuracy": 1.0}


def test_precision_of_the_nearest():
    labels = np.repeat([0, 1], 20)
    features = np.eye(2)[labels] + 0.01 * np.random.default_rng(0).normal(size=(40, 2))
    assert pretrain_text.precision_at(features, labels) == 1.0
    noise = np.random.default_rng(0).normal(size=(400, 8))
    assert abs(pretrain_text.precision_at(noise, np.arange(400) % 2) - 0.5) < 0.05


def test_one_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        pretrain_text.main(config(tmp_path, seeds=(0,)))
