"""MAE and Inpainting: what is hidden stays hidden, and the loss is about that alone."""

import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import image_networks, images, unlabelled, vit


def outputs(model, x, seed=(1, 2)):
    """The outputs of one forward pass with one draw of what is hidden."""
    model.seed_generator.state.assign(np.array(seed, model.seed_generator.state.dtype))
    return {name: np.array(value) for name, value in model({"image": x}).items()}


@pytest.mark.parametrize("hidden", [0.75, 0.5])
def test_mae_hides_as_many_patches_of_each_image_and_others_in_each(hidden):
    model, x = kt.models.MAE(*vit(), hidden=hidden), images()[1][0]
    found = outputs(model, x)["hidden"]
    np.testing.assert_array_equal(found.sum(1), [16 * hidden] * 8)
    assert len(np.unique(found, axis=0)) > 1
    assert (outputs(model, x, seed=(3, 4))["hidden"] != found).any()


def test_mae_does_not_see_what_is_hidden():
    model, x = kt.models.MAE(*vit()), images()[1][0]
    first = outputs(model, x)
    hidden = np.repeat(first["hidden"][..., None].astype("float32"), 4, -1)
    hole = np.array(model.cut.join(hidden, 8, 8))
    changed = np.where(hole > 0, 255 - x, x)
    np.testing.assert_allclose(outputs(model, changed)["predicted"], first["predicted"], atol=1e-6)
    assert np.abs(outputs(model, 255 - x)["predicted"] - first["predicted"]).max() > 1e-3


@pytest.mark.parametrize("normalize", [False, True])
def test_mae_loss_by_hand(normalize):
    model, x = unlabelled(kt.models.MAE(*vit(), normalize=normalize), run_eagerly=True), images()[1][0]
    found = outputs(model, x)
    squares = x.reshape(8, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(8, 16, 4) / 255
    if normalize:
        squares = (squares - squares.mean(-1, keepdims=True)) / np.sqrt(squares.var(-1, keepdims=True) + 1e-6)
    errors = np.square(found["predicted"] - squares).mean(-1)
    model.seed_generator.state.assign(np.array([1, 2], model.seed_generator.state.dtype))
    logs = model.train_on_batch({"image": x}, return_dict=True)
    np.testing.assert_allclose(logs["reconstruction_term"], errors[found["hidden"]].mean(), rtol=1e-4)


def test_mae_learns_to_predict_one_brightness():
    """Images of one brightness each: what is hidden is as what is seen."""
    rng = np.random.default_rng(0)
    plain = np.broadcast_to(rng.integers(0, 256, (256, 1, 1, 1)), (256, 8, 8, 1)).astype("uint8")
    keras.utils.set_random_seed(0)
    encoder = kt.backbones.small_vit((8, 8, 1), patch_size=2, dim=32, blocks=1)
    model = kt.models.MAE(encoder, kt.backbones.small_vit_decoder(encoder, dim=32), hidden=0.5, normalize=False)
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit({"image": np.tile(plain, (10, 1, 1, 1))}, batch_size=64, epochs=4, verbose=0).history
    assert history["reconstruction_term"][-1] < 0.5 * (plain / 255).var()


def test_inpainting_hides_a_rectangle_and_does_not_see_it():
    model, x = kt.models.Inpainting(*image_networks(), hidden=0.25), images()[1][0]
    found = outputs(model, x)
    hole = found["hole"][..., 0]
    for image in hole:
        assert sorted(set(image.sum(0))) == sorted(set(image.sum(1))) == [0, 4]  # 4 x 4 of 8 x 8
    assert len(np.unique(hole, axis=0)) > 1
    # The mean fills the hole, so the change keeps the mean of what is hidden: each hole's pixels in another order.
    changed = x.copy()
    for image, mask in zip(changed, hole > 0):
        image[mask] = image[mask][::-1]
    assert (changed != x).any()
    np.testing.assert_allclose(outputs(model, changed)["predicted"], found["predicted"], atol=1e-5)


def test_inpainting_loss_by_hand():
    model, x = unlabelled(kt.models.Inpainting(*image_networks()), run_eagerly=True), images()[1][0]
    found = outputs(model, x)
    errors = np.square(found["predicted"] - x / 255)
    model.seed_generator.state.assign(np.array([1, 2], model.seed_generator.state.dtype))
    logs = model.train_on_batch({"image": x}, return_dict=True)
    np.testing.assert_allclose(logs["reconstruction_term"], errors[found["hole"] > 0].mean(), rtol=1e-4)


def test_errors():
    encoder, decoder = vit()
    with pytest.raises(ValueError, match="layers 'patches' and 'blocks'"):
        kt.models.MAE(image_networks()[0], decoder)
    with pytest.raises(ValueError, match="some of 16 patches visible and some hidden; received 0.99"):
        kt.models.MAE(encoder, decoder, hidden=0.99)
    with pytest.raises(ValueError, match="`hidden` to be a finite number above 0 and below 1; received 1.0"):
        kt.models.Inpainting(*image_networks(), hidden=1.0)
    with pytest.raises(ValueError, match="divides the image's height and width; received 3"):
        kt.backbones.small_vit((8, 8, 1), patch_size=3)
    with pytest.raises(ValueError, match="multiple of 4 and of 3 heads; received 8"):
        kt.backbones.small_vit((8, 8, 1), patch_size=2, dim=8, heads=3)
    flat = keras.Sequential([keras.Input((16,)), keras.layers.Dense(64)])
    model = unlabelled(kt.models.Inpainting(image_networks()[0], flat))
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 1\); received shape \(64,\)"):
        model.train_on_batch(images()[0][0])
