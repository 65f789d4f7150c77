"""Batches that reach a model, checked before they are used.

A batch's types are checked when its step is traced, its values at every step, in
the graph but outside of what XLA compiles, which would drop the check. Nothing is
trained on a batch that is refused.
"""

from __future__ import annotations

import contextlib
import typing

import keras
import tensorflow as tf

from tla_tf.errors import InputError
from tla_tf.ops import inputs

# Labels of a batch -> their images; first as `fit` calls both, then as the dict of a `data.BatchStream` does.
_LABELS = {"y": "x", "label": "image", "pool_label": "pool"}
# What else of images it may hold.
_IMAGES = ("image", "positive", "pool")
_WEIGHTS = "sample_weight"
# What steps call what `fit` calls otherwise.
_OWN_NAMES = {"x": "image", "y": "label", _WEIGHTS: "weight"}


class InputChecks:
  """Checks what `fit`, `evaluate` and `predict` are given.

  Args:
    num_classes: of the network.

  Attributes:
    num_classes: the same.
  """

  def __init__(self, num_classes: int):
    self.num_classes = num_classes
    self._refusal: InputError | None = None

  @property
  def refused(self) -> bool:
    """Whether the last batch was refused by the graph, whose error wraps the sentence."""
    return self._refusal is not None

  # ------------------------------------------------------------- batches, in a graph

  def batch(self, data: typing.Any, parts: int = 1) -> dict[str, tf.Tensor]:
    """A batch as steps take it.

    Args:
      data: `(images, labels)`, `(images, labels, weights)`, or a dict of a
        `data.BatchStream`, which may have "weight" [n], too.
      parts: equal micro-batches that it must allow to be cut into.

    Returns:
      Dict with "image" float32 [n, ...] and "label" int32 [n], "weight" float32 [n]
      where there are weights, and what else of images and labels the dict holds.
      Its values are there only once they are found to be right.

    Raises:
      InputError: for types and shapes that are wrong; for values when the graph
        runs (within `sentences`).
    """
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(images, dict):
      pictures, classes = _members(images)
      found = self._checked(pictures, classes, images.get("weight", weights), parts)
    elif labels is None:
      raise InputError("A batch has images but no labels: give `y`, or batches (images, labels).")
    else:
      found = self._checked({"x": images}, {"y": labels}, weights, parts)
    return {_OWN_NAMES.get(name, name): values for name, values in found.items()}

  def images(self, data: typing.Any) -> tf.Tensor:
    """The images of a batch, of which `predict` needs no more: float32 [n, ...]."""
    images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    named = _members(images, labelled=False)[0] if isinstance(images, dict) else {"x": images}
    return next(iter(self._checked(named, {}, None).values()))

  def _checked(self, images, labels, weights, parts=1):
    """Dict of float32 images, int32 labels [n] and, where given, float32 weights [n], that depend on their check."""
    images = {name: tf.convert_to_tensor(values) for name, values in images.items()}
    labels = {name: tf.convert_to_tensor(values) for name, values in labels.items()}
    for name, values in images.items():
      inputs.require_image_type(values.dtype, name)
    for name, values in labels.items():
      inputs.require_label_type(values.shape, values.dtype, name)
    weights = {} if weights is None else {_WEIGHTS: tf.cast(tf.convert_to_tensor(weights), tf.float32)}
    flat = [tf.reshape(values, [-1]) for values in (*labels.values(), *weights.values())]
    valid = [inputs.valid_images(values) for values in images.values()]
    valid += [inputs.valid_labels(values, self.num_classes) for values in flat[: len(labels)]]
    valid += [inputs.valid_weights(values) for values in weights.values()]
    # Shapes may be unknown while a graph is made.
    first = next(iter(images))
    counts = [tf.shape(images[_LABELS.get(name, first)])[0] for name in (*labels, *weights)]
    valid += [tf.size(values) == count for values, count in zip(flat, counts)]
    if parts > 1:
      _require_parts(images[first].shape[0], parts)
      valid.append(tf.shape(images[first])[0] % parts == 0)
    given = {**images, **labels, **weights}
    names = tuple(given)

    def refuse():
      # TensorFlow keeps the function for ever: it must hold no tensor, whose graph would stay with it.
      def say(*values):
        self._say(dict(zip(names, values)), parts)
        return False

      return tf.numpy_function(say, list(given.values()), tf.bool)

    passed = tf.cond(tf.reduce_all(valid), lambda: tf.constant(True), refuse)
    types_ = dict.fromkeys(images, tf.float32) | dict.fromkeys(labels, tf.int32) | dict.fromkeys(weights, tf.float32)
    with tf.control_dependencies([passed]):
      found = {
        name: tf.identity(tf.cast(values, types_[name])) for name, values in zip(given, (*images.values(), *flat))
      }
    # Relaxed shapes know no count, but it was checked.
    for name in (*labels, *weights):
      found[name] = tf.ensure_shape(found[name], images[_LABELS.get(name, first)].shape[:1])
    return found

  def _say(self, arrays, parts=1):
    """Raises the sentence that fits, and remembers it: a graph would wrap it into its own error."""
    try:
      for name, array in arrays.items():
        if name == _WEIGHTS:
          inputs.require_weights(array, len(next(iter(arrays.values()))), name)
        elif name in _LABELS:
          inputs.require_labels(array, len(arrays[_LABELS[name]]), self.num_classes, name)
        else:
          inputs.require_images(array, name)
      _require_parts(len(next(iter(arrays.values()))), parts)
    except InputError as error:
      self._refusal = error
      raise

  @contextlib.contextmanager
  def sentences(self, about: str = "") -> typing.Iterator[None]:
    """Makes one sentence of what a graph raises for a batch that was refused.

    Args:
      about: argument that the data came by, to begin the sentence with.
    """
    self._refusal = None
    try:
      yield
    except (tf.errors.OpError, InputError) as error:
      refusal = error if isinstance(error, InputError) else self._refusal
      if refusal is None or (refusal is error and not about):
        raise
      raise InputError(f"`{about}`: {refusal}" if about else str(refusal)) from None
    finally:
      self._refusal = None

  # ------------------------------------------------------------- arrays and data sets, before a graph is made

  def require(self, x: typing.Any, y: typing.Any = None, labelled: bool = True) -> None:
    """Checks all that can be known of an argument of `fit`, `evaluate` or `predict` before it is used.

    Args:
      x: images, or whatever Keras takes.
      y: labels of an array.
      labelled: whether labels are needed.

    Raises:
      InputError: for arrays as in `batch`; for a `tf.data.Dataset` by its types.
    """
    if isinstance(x, tf.data.Dataset):
      self._require_spec(x.element_spec, labelled)
    elif isinstance(x, dict):
      self._require_arrays(*_members(x, labelled))
    elif _is_array(x):
      if labelled and y is None:
        raise InputError("There are images but no labels: give `y`.")
      self._require_arrays({"x": x}, {"y": y} if labelled else {})

  def _require_arrays(self, images, labels):
    for name, values in images.items():
      if _is_array(values):
        inputs.require_images(values, name)
    for name, values in labels.items():
      if _is_array(values):
        inputs.require_labels(values, len(images[_LABELS[name]]), self.num_classes, name)

  def _require_spec(self, spec, labelled):
    x, y, _ = keras.utils.unpack_x_y_sample_weight(spec)
    images, labels = _members(x, labelled) if isinstance(x, dict) else ({"x": x}, {"y": y} if labelled else {})
    for name, part in images.items():
      if isinstance(part, tf.TensorSpec):
        inputs.require_image_type(part.dtype, name)
    for name, part in labels.items():
      if isinstance(part, tf.TensorSpec):
        inputs.require_label_type(part.shape, part.dtype, name)


def _require_parts(count, parts):
  """Raises InputError for a number of images, where it is known, that has not `parts` equal parts."""
  if count is not None and count % parts:
    raise InputError(
      f"A batch of {count} images has no {parts} equal micro-batches: give a `batch_size` that is a multiple of "
      f"`accumulate_steps={parts}`, and leave the rest of the images out (drop_remainder)."
    )


def _members(batch, labelled=True):
  """(dict of images, dict of labels) of a dict."""
  names = [name for name in _IMAGES if name in batch or name == "image"]
  labels = [label for label, images in _LABELS.items() if images in names and labelled]
  missing = next((name for name in [*names, *labels] if name not in batch), None)
  if missing is not None:
    raise InputError(f"A batch has no `{missing}`, only {sorted(batch)}: see `data.BatchStream.batch`.")
  return {name: batch[name] for name in names}, {name: batch[name] for name in labels}


def _is_array(values):
  return (hasattr(values, "shape") and hasattr(values, "dtype")) or type(values).__module__.startswith("pandas.")
