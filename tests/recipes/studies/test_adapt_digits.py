import pytest

from keras_transfer.recipes.studies import adapt_digits

ROWS = {
    "usps_mnist": {7291, 2007, 8000, 2000},
    "mnist_usps": {8000, 2000, 7291, 2007},
    "mnist_mnistm": {60_000, 10_000, 1000, 2000},
}


@pytest.mark.parametrize("pair", ROWS)
def test_public_pairs_load(pair, data_folder):
    if not all((data_folder / name).is_dir() for name in ("mnist", "usps", "mnist_m")):
        pytest.skip("KERAS_TRANSFER_DATA lacks mnist, usps or mnist_m")
    data = adapt_digits.load(adapt_digits.Config(pair=pair))
    assert len({images.shape[1:] for images, _ in data.values()}) == 1
    assert {len(images) for images, _ in data.values()} == ROWS[pair]
    source = {"usps_mnist": 7291, "mnist_usps": 8000, "mnist_mnistm": 60_000}
    assert len(data["source"][0]) == source[pair]


def test_other_pairs_are_those_of_the_recipe():
    data = adapt_digits.load(adapt_digits.Config(pair="digits_photos"))
    assert {name: len(images) for name, (images, _) in data.items()} == {
        "source": 1200,
        "source_test": 597,
        "target": 1200,
        "target_test": 597,
    }
