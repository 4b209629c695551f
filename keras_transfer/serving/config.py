"""TF Serving's configuration for many models."""

import pathlib
import warnings

from google.protobuf import text_encoding

from keras_transfer.files import write_whole
from keras_transfer.serving.versions import versions


def write_config(saved_models, file=None, base_path="/models"):
    """Writes TF Serving's `models.config` for every model in a directory; pass it as `--model_config_file`.

    A model is a folder with a SavedModel in a version; hidden folders are none.

    Args:
        saved_models: directory of `<model>/<version>/`.
        file: where to write; by default `<saved_models>/models.config`. Replaced in one step.
        base_path: `saved_models` as the server sees it; `/models` in the tensorflow/serving image.

    Returns:
        The `pathlib.Path` of the file.

    Raises:
        FileNotFoundError: no directory in `saved_models` holds a version.

    Warns:
        UserWarning: for a model whose name is not UTF-8, which such a file cannot hold: it is left out.
    """
    saved_models = pathlib.Path(saved_models)
    names = sorted(child.name for child in saved_models.iterdir() if _is_model(child))
    named = [name for name in names if _is_text(name)]
    if len(named) < len(names):
        unnamed = [name for name in names if name not in named]
        warnings.warn(f"Expected names of models in UTF-8; received {unnamed}, which are left out.", stacklevel=2)
    if not named:
        raise FileNotFoundError(f"Expected exports <model>/<version>/ in {saved_models}; found none.")
    text = "".join(
        f"  config {{\n    name: {_quoted(name)}\n    base_path: {_quoted(f'{base_path}/{name}')}\n"
        '    model_platform: "tensorflow"\n  }\n'
        for name in named
    )
    file = pathlib.Path(file or saved_models / "models.config")
    return write_whole(file, f"model_config_list {{\n{text}}}\n".encode())


def _is_model(folder):
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return any((version / name).is_file() for version in versions(folder).values() for name in _SAVED_MODELS)


_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")


def _is_text(name):
    return not any("\ud800" <= letter <= "\udfff" for letter in name)  # what stands for a byte that is no UTF-8


def _quoted(text):
    """A string of protobuf's text format."""
    return f'"{text_encoding.CEscape(text, as_utf8=True)}"'
