"""Two thousand film reviews, half of them bad: long texts, to pretrain on and to classify."""

import zipfile

import numpy as np

from keras_transfer.datasets.files import fetch

_URL = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/movie_reviews.zip"
_FOLDERS = ("neg", "pos")


def movie_reviews():
    """Loads the film reviews of Pang and Lee: 1,000 negative and 1,000 positive, some 650 words each, in small letters.

    Reads `movie_reviews.zip` from `$KERAS_TRANSFER_DATA/text_nltk`, or downloads it once (4 MB).

    Returns:
        Tuple of strings (2000,), dtype object, lines joined by a space, and labels, int32 (2000,), 1 for positive.

    Raises:
        ValueError: If the file is no such archive.

    Reference: B. Pang, L. Lee, "A Sentimental Education: Sentiment Analysis Using Subjectivity", ACL 2004.
    """
    path = fetch("movie_reviews.zip", "text_nltk", _URL, None, _read)
    texts, labels = _read(path)
    return np.array(texts, object), np.array(labels, "int32")


def _read(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".txt"))
            places = [name.split("/")[-2] for name in names]
            texts = [" ".join(archive.read(name).decode("utf-8").split()) for name in names]
    except (zipfile.BadZipFile, IndexError) as error:
        raise ValueError(f"Expected {path} to be a zip file of reviews; received: {error}.") from error
    found = [places.count(folder) for folder in _FOLDERS]
    if found != [1000, 1000] or len(places) != 2000:
        raise ValueError(f"Expected 1,000 reviews in each of {_FOLDERS} of {path}; received {found}.")
    return texts, [_FOLDERS.index(place) for place in places]
