"""TF Serving's configuration for many models."""

import json
import pathlib

from keras_transfer.files import write_whole
from keras_transfer.serving.versions import versions


def write_config(saved_models, file=None, base_path="/models"):
    """Writes TF Serving's `models.config` for every model in a directory; pass it as `--model_config_file`.

    Args:
        saved_models: directory of `<model>/<version>/`.
        file: where to write; by default `<saved_models>/models.config`. Replaced in one step.
        base_path: `saved_models` as the server sees it; `/models` in the tensorflow/serving image.

    Returns:
        The `pathlib.Path` of the file.

    Raises:
        FileNotFoundError: no directory in `saved_models` holds a version.
    """
    saved_models = pathlib.Path(saved_models)
    names = sorted(child.name for child in saved_models.iterdir() if child.is_dir() and versions(child))
    if not names:
        raise FileNotFoundError(f"Expected exports <model>/<version>/ in {saved_models}; found none.")
    quoted = [json.dumps([name, f"{base_path}/{name}"], ensure_ascii=False)[1:-1].split(", ", 1) for name in names]
    text = "".join(
        f'  config {{\n    name: {name}\n    base_path: {base}\n    model_platform: "tensorflow"\n  }}\n'
        for name, base in quoted
    )
    file = pathlib.Path(file or saved_models / "models.config")
    return write_whole(file, f"model_config_list {{\n{text}}}\n".encode())
