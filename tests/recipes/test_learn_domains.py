import keras
import numpy as np
import pytest
from PIL import Image

from keras_transfer.recipes import learn_domains
from tests.recipes.runs import check_run, folders, served

METHODS = ("plain", "ewc", "replay")


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(
        learn_domains, "STRENGTHS", {arm: of[: 1 + (arm == "replay")] for arm, of in learn_domains.STRENGTHS.items()}
    )
    digits = learn_domains.kt.datasets.printed_digits
    monkeypatch.setattr(learn_domains.kt.datasets, "printed_digits", lambda n: digits(n // 20))


def config(folder, **change):
    short = {"seeds": (0, 1), "choice": (7,), "steps": 2, "batch_size": 16, "per_class": 1, "information_rows": 20}
    return learn_domains.Config(**{**short, "method": METHODS, **change}, **folders(folder))


def pictures(folder, name):
    rng = np.random.default_rng(len(name))
    for label, grey in (("dark", 60), ("light", 190)):
        (folder / name / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.uint8(np.clip(rng.normal(grey, 40, (16, 16, 3)), 0, 255))
            Image.fromarray(pixels).save(folder / name / label / f"{number}.png")
    return folder / name


def test_a_short_run_on_pictures(tmp_path):
    """Of a pretrained backbone the upper half trains; what is exported takes pictures as they are."""
    layers = keras.layers
    backbone = [layers.Rescaling(1 / 255), *(layers.Conv2D(n, 3, activation="relu") for n in (4, 4))]
    network = keras.Sequential([keras.Input((16, 16, 3)), *backbone, layers.GlobalAveragePooling2D()])
    network.save(tmp_path / "backbone.keras")
    images = tuple(pictures(tmp_path / "mine", name) for name in ("photos", "drawings"))
    settings = config(tmp_path, images=images, backbone=f"file:{tmp_path}/backbone.keras", image_size=16, depth=0.5)
    record = learn_domains.main(settings)
    drawn = ("frontier", "matrices", "report")
    version = check_run(tmp_path, "learn_domains", "photos_drawings", record, drawn)
    assert set(record["runs"]) == set(METHODS) and record["baseline"] == "plain"
    assert record["extra"]["domains"] == ["photos", "drawings"] and "images" not in record["extra"]["config"]
    assert len(record["extra"]["frontier"]["replay"]) == 2 and record["extra"]["chosen"]["plain"] == 1.0
    found, _, _ = learn_domains.load(settings)
    order = np.random.default_rng(0).permutation(40)[:8]
    x, y = (part[order] for part in found["drawings"])
    right = (served(version)(images=x)["class_id"] == y).mean()
    assert right == pytest.approx(record["runs"]["replay"]["0"]["drawings_accuracy"])


def test_all_arms_begin_with_the_same_networks_and_the_test_is_apart(tmp_path):
    settings = config(tmp_path)
    found, _, backbone = learn_domains.load(settings)
    rows, upper, _ = learn_domains.below(settings, found, backbone)
    data = learn_domains.split(rows, 0)
    for (x, _), (test, _) in data.values():
        assert len(test) == (len(x) + len(test)) // 5
    networks = learn_domains.begin(settings, upper, data, 10, 0)
    firsts = [
        learn_domains.learn(settings, arm, strength, 0, networks, data)[0]["matrix"][0]
        for arm, strength in (
            ("lower_rate", 0.3),
            ("fewer_steps", 0.5),
            ("interpolation", 0.3),
            ("l2sp", 1.0),
            ("lwf", 1.0),
        )
    ]
    assert all(first == firsts[0] for first in firsts)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"seeds": (0, 7)}, "others than those of --choice"),
        ({"method": ("ewc",)}, "the method plain"),
        ({"images": ("one",), "backbone": "file:x"}, "at least two folders of --images and a --backbone"),
    ],
)
def test_what_cannot_be_run_is_said_before(tmp_path, change, said):
    if "images" in change:
        change = {**change, "images": tuple(tmp_path / name for name in change["images"])}
    with pytest.raises(ValueError, match=said):
        learn_domains.main(config(tmp_path, **change))
