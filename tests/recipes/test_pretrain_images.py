import pytest

from keras_transfer.recipes import pretrain_images
from tests.recipes.runs import check_run, folders, served


@pytest.mark.usefixtures("one_rate")
def test_a_short_run(photos, tmp_path):
    config = pretrain_images.Config(
        images=photos,
        image_size=16,
        seeds=(0, 1),
        epochs=1,
        batch_size=32,
        steps=2,
        labels_per_class=4,
        **folders(tmp_path),
    )
    record = pretrain_images.main(config)
    pictures = ("views", "neighbours", "embedding", "curves", "report")
    version = check_run(tmp_path, "pretrain_images", "mine", record, pictures)
    assert set(record["few_labels"]) == {"probe", "lp_ft", "twin", "pixels_probe"}
    assert set(record["report"]["gains"]) == {"probe", "lp_ft"}
    for arm, runs in record["few_labels"].items():
        assert set(runs) == {0, 1}
        for seed, run in runs.items():
            assert 0 <= run["validation"] <= 1
            assert record["report"]["runs"][arm][str(seed)]["accuracy"] == run["test"]
    assert {"embedding_std", "alignment", "loss"} <= set(record["histories"][0])
    (_, _), (test, _), _ = pretrain_images.load(config)
    assert served(version)(images=test)["features"].shape == (24, 256)
    assert record["export"]["differences"]["serving_default"] <= 1e-5


def test_parts_are_apart(photos):
    train, test, names = pretrain_images.load(pretrain_images.Config(images=photos, image_size=32))
    assert list(names) == ["blue", "green", "red"]
    x, y = pretrain_images.hold_out(*train, *test)
    assert {part: len(rows) for part, rows in x.items()} == {"train": 77, "validation": 19, "test": 24}
    rows = {part: {image.tobytes() for image in images} for part, images in x.items()}
    assert not rows["train"] & rows["validation"] and not rows["train"] & rows["test"]
    assert {part: len(labels) for part, labels in y.items()} == {"train": 77, "validation": 19, "test": 24}
