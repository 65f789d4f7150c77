"""Images and labels: readers, checks, splits and the seeded batch stream."""

from tla_tf.data.image_data import ImageData, Splits
from tla_tf.data.loading import DATASETS, load
from tla_tf.data.stream import BatchStream

__all__ = ["DATASETS", "BatchStream", "ImageData", "Splits", "load"]
