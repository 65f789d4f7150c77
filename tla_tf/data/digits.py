"""scikit-learn's handwritten digits: 1,797 images of 8x8, no download."""

import numpy as np

from tla_tf.data.image_data import ImageData, split

HELDOUT = 200
TEST = 360


def load_digits(heldout=0):
  """Returns `Splits` of 1,237 / 200 / 360 images [n, 8, 8, 1], uint8.

  The test images are the last 360 in scikit-learn's order, from other writers
  than most of the training images.

  Args:
    heldout: number of training images held out; 0 takes 200.
  """
  from sklearn import datasets

  bunch = datasets.load_digits()
  # The 17 grey levels 0..16 become 0..255.
  images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[..., None]
  names = tuple(str(name) for name in bunch.target_names)
  data = ImageData(images, bunch.target, names, source="scikit-learn's digits")
  return split(data.take(slice(-TEST)), data.take(slice(-TEST, None)), heldout or HELDOUT)
