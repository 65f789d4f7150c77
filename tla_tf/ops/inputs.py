"""What images and labels from outside must be, with one sentence for every way in which they are not.

Everybody who takes images or labels asks here: arrays and tensors at once
(`require_images`, `require_labels`), batches that a graph is traced for by type
(`require_image_type`, `require_label_type`) and by value (`valid_images`,
`valid_labels`, which a graph can compute).
"""

from __future__ import annotations

import typing

import numpy as np

from tla_tf.errors import InputError
from tla_tf.lazy import lazy

tf = lazy("tensorflow")

# How far pixels may leave [0, 1] to be called the overshoot of a filter or of an augmentation.
_OVERSHOOT = 0.5


def images_fault(images: np.ndarray) -> str | None:
  """What is wrong with pixels, as the end of a sentence "the images must lie in [0, 1], but ...", or None."""
  if not images.size:
    return None
  low, high = float(np.min(images)), float(np.max(images))
  if low >= 0.0 and high <= 1.0:
    return None
  if not (np.isfinite(low) and np.isfinite(high)):
    bad = np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(1))
    which = f"{len(bad)} of {len(images)}, the first is number {bad[0]} from 0"
    return f"hold NaN or infinity ({which}): leave such images out, or mend what made them"
  if low >= -_OVERSHOOT and high <= 1.0 + _OVERSHOOT:
    return f"reach from {low:.7g} to {high:.7g}: clip them"
  if low >= 0.0 and high <= 255.0:
    return f"reach from {low:g} to {high:g}: divide by 255"
  return (
    f"reach from {low:g} to {high:g}: scale them, and let the network do what else it wants (keras.layers.Rescaling)"
  )


def require_image_type(dtype: typing.Any, name: str = "images") -> None:
  """Raises InputError for images that are no floating numbers: a NumPy or TensorFlow dtype."""
  dtype = tf.as_dtype(dtype)
  if not dtype.is_floating:
    remedy = "divide by 255" if dtype.is_integer else "give numbers"
    raise InputError(f"`{name}` must be float32 in [0, 1], but are {dtype.name}: {remedy}.")


def require_images(images: typing.Any, name: str = "images") -> None:
  """Raises InputError unless an array or tensor [n, ...] holds floating numbers in [0, 1]."""
  images = np.asarray(images)
  if images.dtype == object:
    raise InputError(f"`{name}` must be one array [n, ...] of numbers: are the images of different sizes?")
  if images.ndim < 2:
    raise InputError(f"Expected images [n, ...], but `{name}` has shape {list(images.shape)}.")
  require_image_type(images.dtype, name)
  fault = images_fault(images)
  if fault is not None:
    raise InputError(f"`{name}` must lie in [0, 1], but {fault}.")


def require_label_type(shape: typing.Any, dtype: typing.Any, name: str = "labels") -> None:
  """Raises InputError for labels that are no numbers, or not one an image, whatever their values.

  Args:
    shape: a static shape, [n] or [n, 1]; an unknown one passes.
    dtype: a NumPy or TensorFlow dtype; floating numbers may hold whole ones.
    name: what they are called.
  """
  shape = tf.TensorShape(shape)
  if shape.rank is not None and not (shape.rank == 1 or (shape.rank == 2 and shape[1] in (1, None))):
    one_hot = shape.rank == 2 and shape[1] is not None
    remedy = f"one-hot labels become classes by numpy.argmax({name}, -1)" if one_hot else "give one class an image"
    raise InputError(f"Expected images [n, ...] and labels [n], but `{name}` has shape {list(shape)}: {remedy}.")
  dtype = tf.as_dtype(dtype)
  if not (dtype.is_integer or dtype.is_floating or dtype == tf.bool):
    raise InputError(
      f"`{name}` must be whole numbers, but are {dtype.name}: number the classes, for instance by "
      f"numpy.unique({name}, return_inverse=True)."
    )


def require_labels(
  labels: typing.Any, count: int | None = None, num_classes: int | None = None, name: str = "labels"
) -> np.ndarray:
  """Checks an array or tensor of labels.

  Args:
    labels: whole numbers, one an image: [n], or [n, 1] as Keras takes them.
    count: number of images; None for any.
    num_classes: of the network; None if it is not known.
    name: what the labels are called.

  Returns:
    int32 [n].

  Raises:
    InputError: for another number of labels, one-hot labels, fractions, or
      classes that are not there.
  """
  labels = np.asarray(labels)
  if labels.dtype.kind in "OUS":
    require_label_type(labels.shape, tf.string, name)
  require_label_type(labels.shape, labels.dtype, name)
  if count is not None and len(labels) != count:
    raise InputError(f"There are {count} images, but {len(labels)} `{name}`: give one an image.")
  labels = labels.reshape(-1).astype(np.int32 if labels.dtype == bool else labels.dtype)
  if not labels.size:
    return labels.astype(np.int32)
  fractions = labels[labels != np.round(labels)] if labels.dtype.kind == "f" else labels[:0]
  if fractions.size:
    raise InputError(f"`{name}` must be whole numbers, the classes, but hold {fractions[0]:g}.")
  low, high = labels.min(), labels.max()
  if low < 0 or (num_classes is not None and high >= num_classes):
    classes = "0 or more" if num_classes is None else f"in 0..{num_classes - 1}, the network's {num_classes} classes"
    raise InputError(
      f"`{name}` must be {classes}, but hold {low if low < 0 else high:g}: number the classes from 0, leave images "
      "without a class out."
    )
  return labels.astype(np.int32)


def require_weights(weights: typing.Any, count: int | None = None, name: str = "sample_weight") -> None:
  """Raises InputError unless an array or tensor holds one finite number of at least 0 an example."""
  weights = np.asarray(weights)
  if weights.size != (weights.shape[0] if count is None and weights.ndim else count):
    raise InputError(f"Expected one `{name}` an image, got shape {list(weights.shape)} for {count} images.")
  if weights.dtype.kind not in "biuf" or not np.all((weights >= 0) & (weights < np.inf)):
    raise InputError(f"`{name}` must be numbers of at least 0, without NaN or infinity.")


def valid_weights(weights: typing.Any) -> typing.Any:
  """Whether weights are finite and not below 0, in a graph: floating, any shape -> bool scalar."""
  return tf.reduce_all((weights >= 0.0) & (weights < float("inf")))


def valid_images(images: typing.Any) -> typing.Any:
  """Whether `images_fault` finds nothing, in a graph: floating [n, ...] -> bool scalar."""
  # Both comparisons are false of NaN.
  return tf.reduce_all((images >= 0.0) & (images <= 1.0))


def valid_labels(labels: typing.Any, num_classes: int) -> typing.Any:
  """Whether labels are whole numbers in [0, num_classes), in a graph: numbers of any type, any shape -> bool scalar."""
  whole = tf.cast(labels, tf.int64)
  valid = (whole >= 0) & (whole < num_classes)
  return tf.reduce_all(valid & (tf.cast(whole, labels.dtype) == labels) if labels.dtype.is_floating else valid)
