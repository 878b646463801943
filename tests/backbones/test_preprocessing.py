import numpy as np

from bigain.backbones.mini import MEAN, STD, crop_and_quantise, pad_and_standardise


def test_padding_is_black_and_two_pixels_wide() -> None:
    images = np.full((2, 28, 28), 255, dtype=np.uint8)
    out = pad_and_standardise(images)
    assert out.shape == (2, 1, 32, 32)
    assert out.dtype == np.float32
    black, white = np.float32((0 - MEAN) / STD), np.float32((1 - MEAN) / STD)
    assert np.allclose(out[:, :, 2:-2, 2:-2], white)
    inside = np.zeros((32, 32), dtype=bool)
    inside[2:-2, 2:-2] = True
    assert np.allclose(out[:, 0][:, ~inside], black)


def test_black_and_white_land_at_the_standardised_values() -> None:
    ramp = np.tile(np.arange(28, dtype=np.uint8) * 9, (1, 28, 1))
    out = pad_and_standardise(ramp)[0, 0, 2, 2:-2]
    assert np.allclose(out * STD + MEAN, np.arange(28) * 9 / 255, atol=1e-6)


def test_going_back_gives_the_very_same_bytes() -> None:
    images = np.arange(2 * 28 * 28, dtype=np.int64).reshape(2, 28, 28).astype(np.uint8)
    assert np.array_equal(crop_and_quantise(pad_and_standardise(images)), images)


def test_what_is_beyond_black_and_white_is_clipped() -> None:
    images = np.full((1, 1, 32, 32), 9.0, dtype=np.float32)
    images[:, :, :16] = -9.0
    out = crop_and_quantise(images)[0]
    assert out.dtype == np.uint8
    assert (out[:14] == 0).all()
    assert (out[14:] == 255).all()
