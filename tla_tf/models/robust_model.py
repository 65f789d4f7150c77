"""The one training step of every method.

`RobustModel.train_step`: attack the anchors, choose the images of the step,
pass them through the network at once, add up weighted terms, one optimiser
step. Subclasses say which images and which terms.
"""

import copy
import typing

import keras
import numpy as np
import tensorflow as tf

from tla_tf import balls, networks
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.config import AttackConfig
from tla_tf.errors import InputError
from tla_tf.losses.weight_decay import weight_decay
from tla_tf.ops import mining, objectives, seeds
from tla_tf.types import PassMode, Role


class Term(typing.NamedTuple):
  """One part of the loss: logged as `value`, added as `weight * value`."""

  value: tf.Tensor
  weight: float


class RobustModel(keras.Model):
  """Base of all methods: a `keras.Model` around a network.

  Call it on images to get {"embedding", "logits"}. Train it with `fit` on
  batches of a `data.BatchStream`, or on plain `(images, labels)`, whose
  class-mates and pool are then taken from the batch itself. `evaluate` returns
  clean and robust accuracy.

  Args:
    network: maps float32 images [n, ...] in [0, 1] to {"embedding",
      "logits"}; see `networks.build` and `networks.from_keras`.
    attack: AttackConfig of the training attack; the cross-entropy of the
      model is what it increases.
    validation_attack: AttackConfig of `evaluate`; None takes `attack`.
    weight_decay: weight of the sum of half the squared norms of the kernels.
    label_smoothing: of every cross-entropy of the training step.
    clean_weight: weight of the mean cross-entropy of the clean images.
    attack_mode: whether the training attack sees the network in inference or
      in training mode (the authors' AT does the latter).
    seed: of random starts and random choices.
    **kwargs: as in `keras.Model`.
  """

  # The role whose accuracy is logged while training.
  accuracy_role = Role.ADVERSARIAL

  def __init__(
    self,
    network,
    attack=AttackConfig(),
    validation_attack=None,
    weight_decay=0.0,
    label_smoothing=0.0,
    clean_weight=0.0,
    attack_mode="inference",
    seed=0,
    **kwargs,
  ):
    super().__init__(**kwargs)
    self.network = network
    self.attack = attack
    self.validation_attack = validation_attack or attack
    self.weight_decay = weight_decay
    self.label_smoothing = label_smoothing
    self.clean_weight = clean_weight
    self.attack_mode = PassMode(attack_mode)
    self.seed = seed
    self.trace_count = 0
    if self.attack_mode is PassMode.TRAINING and networks.has_foreign_statistics(network):
      raise InputError(
        "attack_mode='training' would move the statistics of Keras's BatchNormalization at every "
        "attack step: use networks.BranchBatchNormalization, or attack_mode='inference'."
      )
    self._train_metrics = {}
    self._test_metrics = {}
    # Else Keras would call the model on a batch's dict to build it, under a distribution strategy.
    self.built = network.built
    if max(self.attack.restarts, self.validation_attack.restarts) > 1:
      raise InputError(
        "A training step makes one start: give attacks with restarts=1, and judge with "
        "attacks.attack_survivors or tla-evaluate."
      )

  # ------------------------------------------------------------- what subclasses say

  def logged_names(self):
    """Names of the terms and other values that `step_terms` returns."""
    return ["cross_entropy"] + ["clean_cross_entropy"] * bool(self.clean_weight)

  def step_images(self, batch, seed):
    """The images that the step trains on.

    Args:
      batch: dict of "image", "label", "positive", "pool", "pool_label".
      seed: key int32 [2] of the step.

    Returns:
      Dict from role to (images [n, ...], labels [n]), in the order in which
      batch statistics enter the moving averages.
    """
    adversarial = self.perturb(batch["image"], batch["label"], seeds.fold(seed, 0))
    result = {}
    if self.clean_weight:
      result[Role.TWIN] = (batch["image"], batch["label"])
    result[Role.ADVERSARIAL] = (adversarial, batch["label"])
    return result

  def step_terms(self, outputs, labels):
    """The terms of the loss, without weight decay.

    Args:
      outputs: dict from role to {"embedding", "logits"}.
      labels: dict from role to int32 [n].

    Returns:
      (dict from term name to Term, dict from logged name to scalar).
    """
    terms = {"cross_entropy": Term(self.mean_cross_entropy(outputs, labels, Role.ADVERSARIAL), 1.0)}
    if self.clean_weight:
      clean = [role for role in outputs if role != Role.ADVERSARIAL]
      mean = tf.add_n([self.mean_cross_entropy(outputs, labels, role) for role in clean]) / len(clean)
      terms["clean_cross_entropy"] = Term(mean, self.clean_weight)
    return terms, {}

  # ------------------------------------------------------------- pieces for subclasses

  def mean_cross_entropy(self, outputs, labels, role):
    """Mean cross-entropy of one role, smoothed as the model is."""
    return tf.reduce_mean(objectives.cross_entropy(outputs[role]["logits"], labels[role], self.label_smoothing))

  def perturb(self, images, labels, key):
    """Training attack on a batch, inside the caller's graph: images -> images."""
    forward = networks.logits_function(self.network, training=self.attack_mode is PassMode.TRAINING)
    found = self._search(forward, images, labels, key, self.attack, self.label_smoothing, record=False)
    return tf.stop_gradient(found.adversarial)

  def _search(self, forward, images, labels, key, config, label_smoothing, record):
    ball = balls.get(config.norm)
    measure = objectives.get(config.objective)
    start = ball.random_start(images, config.epsilon, key) if config.random_start else images
    return gradient_loop(
      forward,
      lambda logits, labels: measure(logits, labels, label_smoothing),
      ball,
      images,
      labels,
      start,
      epsilon=config.epsilon,
      step_size=config.step_size,
      steps=config.steps,
      momentum=config.momentum,
      momentum_rule=config.momentum_rule,
      record=record,
    )

  # ------------------------------------------------------------- Keras

  def call(self, inputs, training=False):
    """Images float32 [n, ...] in [0, 1] -> {"embedding", "logits"}."""
    return self.network(inputs, training=training)

  def compile(self, optimizer="adam", loss=None, *, jit_compile="auto", **kwargs):
    """As in Keras; the loss and the metrics are the model's own.

    Args:
      optimizer: a Keras optimiser or its name.
      loss: must stay None.
      jit_compile: True, False, or "auto": what pays for this network on this
        device.
      **kwargs: `run_eagerly`, `steps_per_execution`, `auto_scale_loss`.

    Raises:
      InputError: if a loss or metrics are given, or the network computes in
        another type than float32.
    """
    types_ = {layer.compute_dtype for layer in self.network._flatten_layers()}  # noqa: SLF001
    if types_ != {"float32"}:
      raise InputError(
        f"The network computes in {sorted(types_)}: attacks and their gradients need float32 "
        "(keras.config.set_dtype_policy('float32') before building it)."
      )
    for name, value in {"loss": loss, **kwargs}.items():
      if name in ("loss", "loss_weights", "metrics", "weighted_metrics") and value is not None:
        raise InputError(f"Do not pass `{name}` to compile: a robust model has its own loss and metrics.")
    names = ["loss", *self.logged_names(), *["weight_decay"] * bool(self.weight_decay), "accuracy"]
    self._train_metrics = {name: keras.metrics.Mean(name=name) for name in names}
    names = ["loss", "accuracy", "robust_loss", "robust_accuracy"]
    self._test_metrics = {name: keras.metrics.Mean(name=f"test_{name}") for name in names}
    super().compile(optimizer=optimizer, jit_compile=networks.resolve_jit(jit_compile, self.network), **kwargs)
    # Built now, so that the first step does not trace the graph twice.
    self.optimizer.build(self.network.trainable_variables)

  def fit(self, x=None, y=None, **kwargs):
    """As in Keras. Arrays must hold images in [0, 1]."""
    _check_pixels(x)
    return super().fit(x, y, **kwargs)

  def evaluate(self, x=None, y=None, **kwargs):
    """As in Keras: clean and robust loss and accuracy. Arrays must hold images in [0, 1]."""
    _check_pixels(x)
    return super().evaluate(x, y, **kwargs)

  @property
  def metrics(self):
    return [*self._train_metrics.values(), *self._test_metrics.values()]

  def train_step(self, data):
    """One step on a stream batch or on `(images, labels)`; see the class."""
    self.trace_count += 1
    seed = self.step_seed(self.optimizer.iterations)
    batch = self.complete_batch(data, seed)
    chosen = {role: (tf.stop_gradient(x), y) for role, (x, y) in self.step_images(batch, seed).items()}
    images = {role: x for role, (x, _) in chosen.items()}
    labels = {role: y for role, (_, y) in chosen.items()}
    values, gradients = self.values_and_gradients(images, labels)
    self.optimizer.apply(gradients, self.network.trainable_variables)
    return _updated(self._train_metrics, values)

  def values_and_gradients(self, images, labels):
    """The one forward and backward pass of a step.

    Args:
      images: dict from role to float32 [n, ...], see `step_images`.
      labels: dict from role to int32 [n].

    Returns:
      (dict of the loss, its terms, other logged values and the accuracy;
      gradients with respect to the network's trainable variables).
    """
    with tf.GradientTape() as tape:
      outputs = networks.forward_branches(self.network, images, training=True)
      terms, logged = self.step_terms(outputs, labels)
      if self.weight_decay:
        terms["weight_decay"] = Term(weight_decay(self.network.trainable_variables), self.weight_decay)
      loss = tf.add_n([term.weight * term.value for term in terms.values()])
      # Replicas' gradients are summed: each contributes its share of the mean.
      share = loss / tf.distribute.get_strategy().num_replicas_in_sync
    gradients = tape.gradient(share, self.network.trainable_variables)
    values = {"loss": loss, **{name: term.value for name, term in terms.items()}, **logged}
    values["accuracy"] = _accuracy(outputs[self.accuracy_role]["logits"], labels[self.accuracy_role])
    return values, gradients

  def test_step(self, data):
    """Clean and robust loss and accuracy of a batch, in inference mode."""
    batch = _as_batch(data)
    images, labels = batch["image"], batch["label"]
    forward = networks.logits_function(self.network)
    logits = forward(images)
    key = seeds.key(self.seed, "validation")
    found = self._search(forward, images, labels, key, self.validation_attack, 0.0, record=True)
    clean_right = tf.argmax(logits, -1, output_type=labels.dtype) == labels
    values = {
      "loss": objectives.cross_entropy(logits, labels),
      "accuracy": tf.cast(clean_right, tf.float32),
      "robust_loss": found.loss,
      "robust_accuracy": tf.cast(clean_right & ~found.success, tf.float32),
    }
    return _updated(self._test_metrics, values)

  def complete_batch(self, data, seed):
    """A batch with class-mates and a pool, from the batch itself if need be.

    Args:
      data: a dict of `data.BatchStream`, or `(images, labels)`.
      seed: key int32 [2] of the step.

    Returns:
      Dict as `data.BatchStream.batch` makes it.
    """
    batch = dict(_as_batch(data))
    if "positive" not in batch:
      batch["positive"] = tf.gather(batch["image"], mining.random_classmate(batch["label"], seeds.fold(seed, 3)))
    if "pool" not in batch:
      batch["pool"], batch["pool_label"] = batch["image"], batch["label"]
    return batch

  def step_examples(self, data, step):
    """The images of a step, for people to look at: role -> float32 [n, ...].

    Args:
      data: as in `complete_batch`.
      step: the number of the step.
    """
    seed = self.step_seed(step)
    return {role: x for role, (x, _) in self.step_images(self.complete_batch(data, seed), seed).items()}

  def step_seed(self, step):
    """Key int32 [2] of a step, different on every replica."""
    key = seeds.fold(seeds.key(self.seed, "step"), tf.convert_to_tensor(step))
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context and context.num_replicas_in_sync > 1 else 0
    return seeds.fold(key, replica)

  def get_config(self):
    return {
      "network": keras.saving.serialize_keras_object(self.network),
      "attack": self.attack.to_dict(),
      "validation_attack": self.validation_attack.to_dict(),
      "weight_decay": self.weight_decay,
      "label_smoothing": self.label_smoothing,
      "clean_weight": self.clean_weight,
      "attack_mode": self.attack_mode.value,
      "seed": self.seed,
      "name": self.name,
    }

  @classmethod
  def from_config(cls, config):
    config = copy.deepcopy(config)  # Keras empties what it deserialises.
    config["network"] = keras.saving.deserialize_keras_object(config["network"])
    for name in ("attack", "validation_attack"):
      config[name] = AttackConfig.from_dict(config[name])
    return cls(**config)


def _as_batch(data):
  """A dict of a batch, images float32, labels int32; raises InputError for weights."""
  if isinstance(data, dict):
    return data
  images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
  if weights is not None:
    raise InputError("Sample and class weights are not supported: every image counts the same.")
  if isinstance(images, dict):
    return images  # `train_on_batch` wraps a dict.
  return {"image": tf.cast(images, tf.float32), "label": tf.reshape(tf.cast(labels, tf.int32), [-1])}


def _check_pixels(images):
  """Raises InputError for an array that leaves [0, 1]."""
  if isinstance(images, (np.ndarray, tf.Tensor)) and np.size(images):
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0.0 and high <= 1.0):
      raise InputError(f"Images must lie in [0, 1], but reach from {low:g} to {high:g}: scale them (divide by 255?).")


def _accuracy(logits, labels):
  return tf.reduce_mean(tf.cast(tf.argmax(logits, -1, output_type=labels.dtype) == labels, tf.float32))


def _updated(metrics, values):
  """Feeds values to their metrics and returns the running means by name."""
  if set(metrics) != set(values):
    raise RuntimeError(f"terms and metrics differ: {sorted(set(metrics) ^ set(values))}")
  for name, metric in metrics.items():
    metric.update_state(values[name])
  return {name: metric.result() for name, metric in metrics.items()}
