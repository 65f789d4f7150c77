"""What `compile` and `fit` take from Keras: a loss and metrics of the user's own, weights of classes and examples."""

from __future__ import annotations

import numbers
import typing

import keras
import tensorflow as tf

# Callbacks look in such a list for the direction of what they monitor.
from keras.src.trainers.compile_utils import MetricsList

from tla_tf.errors import InputError, first_line
from tla_tf.ops import objectives

# (labels int32 [n], logits [n, classes]) -> float32 [n].
ExampleLoss = typing.Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def example_loss(loss: typing.Any, num_classes: int, label_smoothing: float = 0.0) -> ExampleLoss:
  """The loss of each example that takes the place of the cross-entropy.

  Args:
    loss: None for the cross-entropy; a Keras loss or its name; a subclass's object
      or a function of (labels int32 [n], logits [n, classes]) that returns one
      number an image. Keras's losses without "sparse" in their name get one-hot
      labels.
    num_classes: of the network.
    label_smoothing: of the cross-entropy.

  Returns:
    Function of (labels, logits).

  Raises:
    InputError: for a loss of probabilities, one that is reduced otherwise than to
      the mean, or that gives another number than one an image.
  """
  if loss is None:
    return lambda labels, logits: objectives.cross_entropy(logits, labels, label_smoothing)
  if isinstance(loss, (dict, list, tuple)):
    raise InputError("`loss`: give one loss, of labels and logits; other parts of the loss are terms of a recipe.")
  if label_smoothing:
    raise InputError("`label_smoothing` belongs to the cross-entropy: leave it at 0 with a `loss` of your own.")
  found = keras.losses.get(loss)
  name = getattr(found, "__name__", type(found).__name__)
  _require_logits(found, name)
  if getattr(found, "reduction", None) not in (None, "none", "mean", "sum_over_batch_size"):
    raise InputError(f"`loss`: reduction={found.reduction!r} is not what a step does: it takes the weighted mean.")
  measure = found.call if isinstance(found, keras.losses.Loss) else found
  one_hot = _of_keras(found) and "sparse" not in name.lower()

  def per_example(labels, logits):
    return measure(tf.one_hot(labels, num_classes) if one_hot else labels, logits)

  _require_one_an_image(per_example, num_classes)
  return per_example


def _of_keras(loss):
  kind = loss if hasattr(loss, "__module__") and not isinstance(loss, keras.losses.Loss) else type(loss)
  return str(kind.__module__).partition(".")[0] == "keras"


def _require_logits(loss, name):
  """Raises InputError for a loss of Keras that takes probabilities."""
  if not _of_keras(loss):
    return
  if isinstance(loss, keras.losses.Loss):
    from_logits = loss.get_config().get("from_logits", True)
  else:
    # A function's default: called by name it cannot be told otherwise.
    from_logits = "crossentropy" not in name
  if not from_logits:
    raise InputError(
      f"`loss` {name!r} takes probabilities, but networks return logits: give the loss of that kind with "
      "from_logits=True, or none at all for the cross-entropy."
    )


def _require_one_an_image(measure, num_classes):
  try:
    shape = tf.convert_to_tensor(measure(tf.zeros([2], tf.int32), tf.zeros([2, num_classes]))).shape
  except Exception as error:
    raise InputError(
      f"`loss` fails on labels int32 [n] and logits [n, {num_classes}]: {first_line(error).rstrip('.')}."
    ) from error
  if shape != (2,):
    raise InputError(
      f"`loss` must give one number an image, [n], but gives the shape {list(shape)} for 2 images: leave the mean to "
      "the step."
    )


def without_own_accuracy(metrics: typing.Any, argument: str) -> list:
  """The metrics of an argument of `compile`; "accuracy", which is logged anyway, is left out.

  Raises:
    InputError: unless it is a list.
  """
  if not isinstance(metrics, (list, tuple)):
    raise InputError(f"`{argument}`: give a list; each metric is called with labels and logits.")
  return [metric for metric in metrics if metric != "accuracy" or argument != "metrics"]


def require_other_names(metrics: typing.Iterable[keras.metrics.Metric], own: typing.Iterable[str]) -> None:
  """Raises InputError where a metric has the name of another, or of what is logged anyway."""
  seen = set(own)
  for metric in metrics:
    if metric.name in seen:
      raise InputError(f"`metrics`: {metric.name!r} is logged already: give the metric another name.")
    seen.add(metric.name)


class _Listed(MetricsList):
  """A list of metrics that gives its values as Keras's compiled metrics do."""

  def result(self):
    return {metric.name: metric.result() for metric in self.metrics}


def directed(metrics: dict[str, keras.metrics.Metric]) -> MetricsList:
  """Metrics by name, with what callbacks without `mode` ask for: whether up is better."""
  for name, metric in metrics.items():
    metric._direction = "up" if name.endswith("accuracy") else "down"  # noqa: SLF001
  return _Listed(list(metrics.values()))


def class_weights(weights: typing.Any, num_classes: int) -> dict[int, float]:
  """The weight of every class, 1 where none is given; raises InputError for others than numbers from 0, by class."""
  if not isinstance(weights, typing.Mapping):
    raise InputError("`class_weight`: give a dict from class to weight.")
  for label, weight in weights.items():
    if not isinstance(label, numbers.Integral) or not 0 <= int(label) < num_classes:
      raise InputError(
        f"`class_weight`: {label!r} is none of the network's {num_classes} classes 0..{num_classes - 1}."
      )
    if not isinstance(weight, numbers.Real) or not 0 <= float(weight) < float("inf"):
      raise InputError(f"`class_weight`: the weight of class {label} must be a number of at least 0, not {weight!r}.")
  return {label: float(weights.get(label, 1.0)) for label in range(num_classes)}


def weighted_by_class(x: typing.Any, weights: dict[int, float]) -> typing.Any:
  """A `tf.data.Dataset` or dict of arrays whose examples have the weights of their classes.

  Keras does so for batches (images, labels) that it makes itself.

  Raises:
    InputError: where examples have weights already.
  """
  table = tf.constant([weights[label] for label in range(len(weights))])

  def weigh(*data):
    images, labels, given = keras.utils.unpack_x_y_sample_weight(data[0] if len(data) == 1 else data)
    has_dict = isinstance(images, dict)
    if given is not None or (has_dict and "weight" in images):
      raise InputError("Give `class_weight` or weights of examples, not both.")
    if not has_dict and labels is None:
      return data
    classes = tf.cast(tf.reshape(images["label"] if has_dict else labels, [-1]), tf.int32)
    # What is no class is refused when the batch is used.
    found = tf.gather(table, tf.clip_by_value(classes, 0, len(weights) - 1))
    return {**images, "weight": found} if has_dict else (images, labels, found)

  if isinstance(x, dict):
    return {**weigh(x)}
  return x.map(tf.autograph.experimental.do_not_convert(weigh))
