import numpy as np

from unmorph.levels import to_faces, to_photos


def test_photos_become_faces() -> None:
    photos = np.zeros((2, 2, 3, 3), np.uint8)
    photos[0, 1, 2] = (0, 51, 255)
    faces = to_faces(photos)
    assert faces.shape == (2, 3, 2, 3)
    assert faces.dtype == np.float32
    np.testing.assert_allclose(faces[0, :, 1, 2], [-1, -0.6, 1], atol=1e-6)
    assert faces.flags.c_contiguous


def test_every_level_comes_back() -> None:
    photo = np.arange(4 * 64 * 3, dtype=np.uint8).reshape(4, 64, 3)
    back = to_photos(to_faces(photo))
    np.testing.assert_array_equal(back, photo)
    assert back.flags.c_contiguous  # Pillow and OpenCV take no other


def test_colours_are_rounded_and_cut_off() -> None:
    face = np.array([-1.2, 0.2 / 127.5, 1.01], np.float32).reshape(3, 1, 1)
    assert to_photos(face).tolist() == [[[0, 128, 255]]]
