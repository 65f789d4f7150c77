"""Tiny ImageNet for TensorFlow Datasets: importing this registers `tiny_imagenet`."""

from tla_tf.data.tiny_imagenet_tfds.builder import TinyImagenet

__all__ = ["TinyImagenet"]
