"""The one training step of every method.

`RobustModel.train_step`: attack the anchors, choose the images of the step,
pass them through the network at once, add up weighted terms, one optimiser
step, averages of weights. What differs between methods is their recipe.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import typing
import warnings

import keras
import numpy as np
import tensorflow as tf

from tla_tf import balls, networks, recipes
from tla_tf.attack_configs import falls_short
from tla_tf.attacks.gradient_loop import gradient_loop
from tla_tf.config import AttackConfig, checked_schedules, choice, require, require_number, require_whole
from tla_tf.errors import AttackWarning, InputError
from tla_tf.losses.regularization import regularization, regularized
from tla_tf.losses.weight_decay import weight_decay
from tla_tf.models import compile_arguments
from tla_tf.models.checked_input import InputChecks
from tla_tf.models.weight_average import WeightAverage
from tla_tf.ops import mining, objectives, replicas, seeds, sums
from tla_tf.ops.predictions import predicted_classes
from tla_tf.ops.schedules import piecewise_linear
from tla_tf.ops.slices import in_slices, row_count
from tla_tf.recipes.draws import draw
from tla_tf.recipes.terms import Step
from tla_tf.records.shown import short_of_its_ball
from tla_tf.types import Jit, MixedPrecision, PassMode, Precision, Role


class Computed(typing.NamedTuple):
  """What a forward and backward pass gives.

  Attributes:
    values: dict of the loss, its terms, other logged values and the accuracy.
    gradients: with respect to `RobustModel.trained_variables`, in their order.
    step: the `Step` that the terms saw.
    image_gradient: float32 [n, ...], with respect to the attacked images, where the
      inner attack asks for it.
  """

  values: dict
  gradients: list
  step: Step
  image_gradient: typing.Any = None


@keras.saving.register_keras_serializable(package="tla_tf")
class RobustModel(keras.Model):
  """A `keras.Model` around a network, trained by the recipe of a method.

  Call it on images to get {"embedding", "logits"}, or {"logits"} of a network
  without an embedding. Train it with `fit` on batches of a `data.BatchStream`, or
  on plain `(images, labels)`, whose class-mates and pool are then taken from the
  batch itself. `evaluate` returns clean and robust accuracy. `save` and
  `keras.models.load_model` keep all that training changes.

  Example:
    model = RobustModel(network, "at", attack=AttackConfig(epsilon=0.1))

  Args:
    network: maps float32 images [n, ...] in [0, 1] to {"embedding", "logits"},
      as `networks.build` makes it; or any Keras classifier, to which
      `networks.from_keras` is applied.
    method: a name of `recipes.names()`; subclasses have their own.
    attack: AttackConfig of the training attack; the recipe says what is
      increased and where the attack starts.
    validation_attack: AttackConfig of `evaluate`; None takes `attack`.
    weight_decay: weight of the sum of half the squared norms of the kernels.
    label_smoothing: of every cross-entropy of the training step.
    schedules: factors on epsilon, step size and weights of terms, see
      `TrainingConfig.schedules`; a dict or pairs.
    weight_average: decay of an average of the weights, which is then what
      `evaluate` and everything that judges uses; 0 keeps none.
    weight_average_start: step at which the average starts.
    accumulate_steps: equal micro-batches that a step's batch is cut into, so that
      memory holds one at a time; see docs/scaling.md.
    attack_batch_size: images that the training attack takes at once; 0 takes all.
    batch_size: anchors of a training step at most, for inner attacks that keep a
      perturbation from step to step.
    attack_precision: a `types.Precision`, in which the training attack passes images
      through the network; validation is float32 always.
    mixed_precision: "off" or "bfloat16": the type in which layers compute in the
      training pass, apart from the attack.
    seed: of random starts and random choices.
    name: of the model.
    sync_batch_norm: whether batch statistics are those of all replicas' images.
    negatives_across_replicas: whether negatives come from all replicas' pools.
    **settings: those of the method, the fields of its recipe's `config_class`.
  """

  method: str = ""

  def __init__(
    self,
    network: keras.Model,
    method: str | None = None,
    *,
    attack: AttackConfig = AttackConfig(),
    validation_attack: AttackConfig | None = None,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    schedules: typing.Any = (),
    weight_average: float = 0.0,
    weight_average_start: int = 0,
    accumulate_steps: int = 1,
    attack_batch_size: int = 0,
    batch_size: int = 0,
    attack_precision: Precision | str = Precision.FLOAT32,
    mixed_precision: MixedPrecision | str = MixedPrecision.OFF,
    seed: int = 0,
    name: str | None = None,
    sync_batch_norm: bool = True,
    negatives_across_replicas: bool = True,
    **settings: typing.Any,
  ):
    super().__init__(name=name)
    self.network = network = networks.from_keras(network)
    self.method = method or type(self).method or ""
    self.recipe = recipes.get(self.method)
    self.settings = self.recipe.resolved(self.recipe.settings(settings))
    self.attack = attack
    self.validation_attack = validation_attack or attack
    self.weight_decay = weight_decay
    self.label_smoothing = label_smoothing
    self.weight_average, self.weight_average_start = weight_average, weight_average_start
    self.accumulate_steps, self.attack_batch_size = accumulate_steps, attack_batch_size
    self.batch_size = batch_size
    self.attack_precision = choice(Precision, "attack_precision", attack_precision)
    self.mixed_precision = choice(MixedPrecision, "mixed_precision", mixed_precision)
    self.seed = seed
    self.sync_batch_norm, self.negatives_across_replicas = sync_batch_norm, negatives_across_replicas
    self.trace_count = 0
    self.inner_attack = self.recipe.inner_attack(self.settings)
    self._update_rule = self.recipe.update_rule(self.settings)
    self._negatives = self.recipe.negatives(self.settings)
    if self._negatives is not None:
      self._negatives.across_replicas = negatives_across_replicas
    self._terms = self.recipe.terms(self.settings)
    if self.inner_attack.mode is PassMode.TRAINING and networks.has_foreign_statistics(network):
      raise InputError(
        "attack_mode='training' would move the statistics of Keras's BatchNormalization at every "
        "attack step: use networks.BranchBatchNormalization, or attack_mode='inference'."
      )
    if max(self.attack.restarts, self.validation_attack.restarts) > 1:
      raise InputError(
        "A training step makes one start: give attacks with restarts=1, and judge with "
        "attacks.attack_survivors or tla-evaluate."
      )
    self._require_sound()
    self._warn_of_short_attacks()
    self._require_embedding()
    self.schedules = checked_schedules(schedules, self.recipe, self.settings)
    self._build_parts()
    self._average = WeightAverage(network, weight_average, weight_average_start) if weight_average else None
    # As an attribute, so that Keras sees its variables.
    self.averaged_network = None if self._average is None else self._average.network
    self._checks = InputChecks(self.network.output["logits"].shape[-1])
    self._example_loss: compile_arguments.ExampleLoss | None = None
    self.compiler = networks.Compiler(Jit.OFF, network)
    self.jit_compile = False
    self._train_metrics: dict = {}
    self._test_metrics: dict = {}
    # Else Keras would call the model on a batch's dict to build it, under a distribution strategy.
    self.built = network.built

  def _require_sound(self) -> None:
    """Raises InputError for numbers out of range, and for a recipe whose parts do not go together."""
    require_number(self, "weight_decay", "weight_average")
    require_number(self, "label_smoothing", high=1.0)
    require(self.weight_average < 1, "weight_average", "a number of at least 0 and below 1", self.weight_average)
    require_whole(self, "weight_average_start", "attack_batch_size", "batch_size")
    require_whole(self, "accumulate_steps", low=1)
    self._require_slices()
    names = ["loss", "accuracy", "weight_decay", "regularization", *(term.name for term in self._terms)]
    names += [name for term in self._terms for name in term.logged]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
      raise InputError(f"Method {self.method!r} logs {twice!r} twice: give its terms names of their own.")
    if self._negatives is not None and Role.ADVERSARIAL not in self.recipe.roles(self.settings):
      raise InputError(f"Method {self.method!r} has negatives but no attacked images, which they are negatives of.")

  def _require_slices(self) -> None:
    """Raises InputError for what cannot be computed slice by slice."""
    self.recipe.require_micro_batches(self.settings, self.accumulate_steps)
    if self.accumulate_steps > 1 and self.inner_attack.needs_gradient:
      raise InputError("`inner_attack` 'free' moves the images of a whole step: give `accumulate_steps=1`.")
    if self.attack_batch_size and self.inner_attack.mode is PassMode.TRAINING and networks.mixes_rows(self.network):
      raise InputError(
        "`attack_batch_size`: the network's batch normalisation or dropout sees the whole batch in an attack in "
        "training mode: give `attack_mode='inference'`, or `attack_batch_size=0`."
      )

  def _warn_of_short_attacks(self) -> None:
    """Says of attacks that cannot reach the edge of their ball: figures are then those of a smaller one."""
    attacks = {"validation_attack": self.validation_attack}
    if Role.ADVERSARIAL in self.recipe.roles(self.settings):
      attacks = {**self.inner_attack.attacks(self.attack), **attacks}
    for name, config in attacks.items():
      if falls_short(config):
        warnings.warn(f"`{name}`: {short_of_its_ball(config)}; see AttackConfig.scaled.", AttackWarning, stacklevel=3)

  def _require_embedding(self) -> None:
    """Raises InputError for a method that compares embeddings of a network that gives none."""
    users = self.recipe.needs_embedding(self.settings)
    if users and "embedding" not in self.network.output:
      raise InputError(
        f"Method {self.method!r} uses embeddings ({', '.join(users)}), and the network gives logits alone: name the "
        "layer, networks.from_keras(model, embedding_layer=...), or let a subclassed model return "
        "{'logits': ..., 'embedding': ...}."
      )

  # ------------------------------------------------------------- the state of a step

  def state(self) -> dict[str, typing.Any]:
    """All that training changes, by name: what a checkpoint holds.

    "network", "optimizer" once the model is compiled, "average" where weights
    are averaged, and what the recipe's parts own.
    """
    parts = {"network": self.network, "optimizer": getattr(self, "optimizer", None), "average": self.averaged_network}
    return {name: part for name, part in {**parts, **self._part_states}.items() if part is not None}

  @property
  def judged(self) -> str:
    """Which weights are judged: "network", or "average"."""
    return "network" if self._average is None else "average"

  @property
  def judged_network(self) -> keras.Model:
    """The network that is validated, evaluated, exported and analysed: with averaged weights where there are any."""
    return self.network if self._average is None else self._average.network

  @property
  def lowest_precision(self) -> Precision:
    """bfloat16 where any part of a training step computes in it."""
    parts = (self.attack_precision, self.mixed_precision.precision)
    return Precision.BFLOAT16 if Precision.BFLOAT16 in parts else Precision.FLOAT32

  def start_average(self) -> None:
    """Makes the average the weights as they are: for a network that was given others before its training."""
    if self._average is not None:
      self._average.start_from(self.network)

  @property
  def trained_variables(self) -> list:
    """What gradients are taken of: the network's trainable variables, then those of terms."""
    own = [v for term in self._terms for v in (term.state.trainable_variables if term.state is not None else ())]
    return [*self.network.trainable_variables, *own]

  def _build_parts(self) -> None:
    """Makes the variables of terms, negatives and the update rule."""
    sizes = {name: output.shape[-1] for name, output in self.network.output.items()}
    embedding: typing.Any = sizes.get("embedding")
    for term in self._terms:
      term.build(embedding, sizes["logits"], seeds.derive(self.seed, "term", term.name))
    if self._negatives is not None:
      self._negatives.build(embedding)
    self._update_rule.build(self.network, seeds.derive(self.seed, "update_rule"))
    self.inner_attack.build(tuple(self.network.inputs[0].shape[1:]), self.batch_size)
    parts = {f"term_{term.name}": term.state for term in self._terms}
    parts["negatives"] = self._negatives and self._negatives.state
    parts["update_rule"] = self._update_rule.state
    parts["inner_attack"] = self.inner_attack.state
    # As an attribute, so that Keras sees the layers, too.
    self._part_states = {name: state for name, state in parts.items() if state is not None}

  def not_for_replicas(self) -> str | None:
    """What several replicas would train otherwise than one device, and the remedy; None for nothing."""
    layers = list(self.network._flatten_layers())  # noqa: SLF001
    ours = any(isinstance(layer, networks.BranchBatchNormalization) for layer in layers)
    synchronised = all(layer.synchronized for layer in layers if isinstance(layer, keras.layers.BatchNormalization))
    if not self._update_rule.for_replicas:
      return f"the update rule {type(self._update_rule).__name__} does not sum gradients (`UpdateRule.for_replicas`)"
    whole = next((term.name for term in self._terms if term.needs_whole_batch), None)
    if whole is not None:
      return f"term {whole!r} compares all images of a step, of which each has a part: give another method"
    if self.sync_batch_norm and not synchronised:
      return (
        "Keras's BatchNormalization has statistics of its own: make it with synchronized=True, or give "
        "`sync_batch_norm=False`"
      )
    if self.sync_batch_norm and ours and self.accumulate_steps > 1:
      return (
        "micro-batches cannot have the batch statistics of all of them: give `accumulate_steps=1` or "
        "`sync_batch_norm=False`"
      )
    if self.sync_batch_norm and ours and self.inner_attack.mode is PassMode.TRAINING:
      return (
        "an attack in training mode cannot have the batch statistics of all of them: give `attack_mode=inference` or "
        "`sync_batch_norm=False`"
      )
    return None

  # ------------------------------------------------------------- schedules

  def _scheduled(self, value: typing.Any, step: typing.Any, *names: str) -> typing.Any:
    """A number, times the factor that the first of its schedules has at a step."""
    points = next((points for name in names for known, points in self.schedules if known == name), None)
    return value if points is None else value * piecewise_linear(step, points)

  # ------------------------------------------------------------- a step

  def step_images(self, batch: dict, seed: typing.Any, step: typing.Any = 0) -> dict:
    """The images that the step trains on.

    Args:
      batch: dict of "image", "label", and "positive", "pool", "pool_label" where
        the method needs them.
      seed: key int32 [2] of the step.
      step: its number.

    Returns:
      Dict from role to (images [n, ...], labels [n]), in the order in which
      batch statistics enter the moving averages.
    """
    roles, labels = self.recipe.roles(self.settings), batch["label"]
    images = {}
    if Role.ADVERSARIAL in roles:
      adversarial = self._alone(self.perturb)(batch["image"], labels, draw(seed, "attack"), step)
      images[Role.ADVERSARIAL] = (adversarial, labels)
    if Role.NEGATIVE in roles and self._negatives is not None:
      images[Role.NEGATIVE] = self.negative_images(batch, adversarial, seed)
    if Role.TWIN in roles:
      images[Role.TWIN] = (self._twin(batch["image"], draw(seed, "twin_noise")), labels)
    if Role.POSITIVE in roles:
      images[Role.POSITIVE] = (batch["positive"], labels)
    return {role: images[role] for role in roles}

  def negative_images(self, batch: dict, adversarial: tf.Tensor, seed: tf.Tensor) -> tuple:
    """(images [n, ...], labels [n]) of the step's negatives: the source's, see `NegativeSource.images`.

    Args:
      batch: as in `step_images`.
      adversarial: float32 [n, ...], the attacked images, for which negatives are sought.
      seed: key int32 [2] of the step.

    Raises:
      InputError: of a method without negatives.
    """
    if self._negatives is None:
      raise InputError(f"Method {self.method!r} has no negatives.")
    at_once, dtypes = self._at_once(adversarial), dict.fromkeys(self.network.output, tf.float32)

    def network(images, training):
      def outputs(x):
        return networks.outputs_of(self.network, x, training, self.mixed_precision.precision)

      return in_slices(outputs, [images], at_once, dtypes)

    return self._negatives.images(network, batch, adversarial, seed)

  def _twin(self, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    noise = self.recipe.twin_noise(self.settings)
    if not noise:
      return images
    noisy = images + seeds.uniform(tf.shape(images), key, -noise, noise)
    return tf.clip_by_value(tf.round(noisy * 255.0) / 255.0, 0.0, 1.0)

  def perturb(self, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, step: typing.Any = 0) -> tf.Tensor:
    """Training attack on a batch, inside the caller's graph: images -> images.

    Args:
      images: float32 [n, ...] in [0, 1].
      labels: int32 [n].
      key: int32 [2].
      step: number of the step, for schedules.
    """
    config, inner = self.attack, self.inner_attack
    training = inner.mode is PassMode.TRAINING
    forward = networks.logits_function(self.network, training, self.attack_precision).ready()
    ball = balls.get(config.norm)
    epsilon = self._scheduled(config.epsilon, step, "epsilon")
    search = inner.search(config, epsilon, self._scheduled(config.step_size, step, "step_size", "epsilon"), step)

    def searched(images, labels, start):
      return gradient_loop(
        forward,
        inner.objective(forward, images, config, self.label_smoothing),
        ball,
        images,
        labels,
        start,
        epsilon=search.radius,
        step_size=search.step_size,
        steps=search.steps,
        momentum=config.momentum,
        momentum_rule=config.momentum_rule,
        record=False,
        patience=search.patience,
      ).adversarial

    # Drawn for the whole batch: slices start where it would.
    start = inner.begin(images, ball, config, search, key)
    return tf.stop_gradient(in_slices(searched, [images, labels, start], self._at_once(images)))

  def _at_once(self, images: tf.Tensor) -> typing.Any:
    """How many of a step's anchors its attack takes at once: a number or tensor, or None for all."""
    rows, size = row_count(images), self.attack_batch_size
    if self.accumulate_steps > 1:
      part = -(-rows // self.accumulate_steps)
      return part if not size else tf.minimum(part, size) if tf.is_tensor(part) else min(part, size)
    return size or None

  def compute(
    self, images: dict, labels: dict, seed: typing.Any = None, step: typing.Any = 0, weights: typing.Any = None
  ) -> Computed:
    """The one forward and backward pass of a step.

    Args:
      images: dict from role to float32 [n, ...], see `step_images`.
      labels: dict from role to int32 [n].
      seed: key int32 [2] of the step; None takes that of step 0.
      step: its number.
      weights: float32 [n] of the anchors; None where all count the same.

    Returns:
      Computed; with `accumulate_steps`, means over the micro-batches, and a step
      that has the outputs of all.
    """
    seed = self.step_seed(0) if seed is None else seed
    if self.accumulate_steps == 1:
      return self._pass(images, labels, seed, step, weights)
    return self._accumulated(images, labels, seed, step, weights)

  def _accumulated(self, images, labels, seed, step, weights):
    """What `_pass` gives, of equal micro-batches one after another."""
    count, role = self.accumulate_steps, next(iter(images))
    rows = row_count(images[role])
    size = rows // count
    given = {"images": images, "labels": labels, **({} if weights is None else {"weights": weights})}
    parts = tf.nest.map_structure(lambda values: tf.reshape(values, [count, size, *values.shape[1:]]), given)
    unconnected: set[int] = set()

    def take_in(i, gradients, values, outputs):
      part = tf.nest.map_structure(lambda values: values[i], parts)
      # What is drawn by row is what the whole batch would draw.
      with seeds.part_of_batch(*seeds.place_of(i * size, rows)):
        found = self._pass(part["images"], part["labels"], seed, step, part.get("weights"))
      unconnected.update(k for k, gradient in enumerate(found.gradients) if gradient is None)
      gradients = [a if g is None else a + tf.convert_to_tensor(g) for a, g in zip(gradients, found.gradients)]
      values = {name: value + found.values[name] for name, value in values.items()}
      return i + 1, gradients, values, tf.nest.map_structure(lambda a, o: a.write(i, o), outputs, found.step.outputs)

    kept = {role: {name: tf.TensorArray(tf.float32, count) for name in self.network.output} for role in images}
    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in self.trained_variables]
    state = (tf.constant(0), zeros, dict.fromkeys(self._logged_names(), tf.constant(0.0)), kept)
    _, gradients, values, kept = tf.while_loop(lambda i, *_: i < count, take_in, state, parallel_iterations=1)
    outputs = tf.nest.map_structure(lambda array: _joined(array.stack()), kept)
    means = [None if k in unconnected else gradient / count for k, gradient in enumerate(gradients)]
    whole = Step(outputs, labels, self.label_smoothing, seed, step, weights=weights, loss=self._example_loss)
    return Computed({name: value / count for name, value in values.items()}, means, whole)

  def _pass(self, images, labels, seed, step, weights):
    watched = [images[Role.ADVERSARIAL]] if self.inner_attack.needs_gradient else []
    with tf.GradientTape() as tape:
      tape.watch(watched)
      outputs = networks.forward_branches(self.network, images, True, self.mixed_precision.precision)
      seen = Step(outputs, labels, self.label_smoothing, seed, step, weights=weights, loss=self._example_loss)
      if self._negatives is not None:
        seen.negatives = self._negatives.choose(seen)
      values, logged, weighted = {}, {}, []
      for term in self._terms:
        values[term.name], further = term(seen)
        logged.update(further)
        weighted.append(self._scheduled(term.weight, step, term.name) * values[term.name])
      if self.weight_decay:
        values["weight_decay"] = weight_decay(self.network.trainable_variables)
        weighted.append(self._scheduled(self.weight_decay, step, "weight_decay") * values["weight_decay"])
      if regularized(self.network.trainable_variables):
        values["regularization"] = regularization(self.network.trainable_variables)
        weighted.append(values["regularization"])
      loss = sums.in_order(weighted)
      # Replicas' gradients are summed: each contributes its share of the mean.
      share = loss / tf.distribute.get_strategy().num_replicas_in_sync
      if getattr(self, "optimizer", None) is not None:
        share = self.optimizer.scale_loss(share)  # which an optimiser of `loss_scale_factor` takes back
    gradients = tape.gradient(share, [*self.trained_variables, *watched])
    image_gradient = gradients.pop() if watched else None
    role = self.recipe.accuracy_role
    values = {"loss": loss, **values, **logged, "accuracy": _accuracy(outputs[role]["logits"], labels[role])}
    return Computed(values, gradients, seen, image_gradient)

  def _weighted_names(self) -> list[str]:
    """Names of the parts of the loss."""
    terms = [*(term.name for term in self._terms), *["weight_decay"] * bool(self.weight_decay)]
    return terms + ["regularization"] * bool(regularized(self.network.trainable_variables))

  def _logged_names(self) -> list[str]:
    """Names of all values of a step."""
    return ["loss", *self._weighted_names(), *(name for term in self._terms for name in term.logged), "accuracy"]

  # ------------------------------------------------------------- Keras

  def call(self, inputs: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
    """Images float32 [n, ...] in [0, 1] -> {"embedding", "logits"}."""
    # As `evaluate` does, `predict` asks the weights that are judged.
    return self.network(inputs, training=True) if training else self.judged_network(inputs, training=False)

  def compile(
    self,
    optimizer: typing.Any = "adam",
    loss: typing.Any = None,
    loss_weights: None = None,
    metrics: typing.Any = None,
    weighted_metrics: typing.Any = None,
    run_eagerly: bool = False,
    steps_per_execution: int = 1,
    jit_compile: bool | str = "auto",
    auto_scale_loss: bool = True,
  ) -> None:
    """As in Keras, beside the model's own loss and metrics; see docs/keras.md.

    Args:
      optimizer: a Keras optimiser or its name.
      loss: takes the place of the cross-entropy, see `compile_arguments.example_loss`;
        attacks keep their objective.
      loss_weights: must stay None: terms have weights of their own.
      metrics: list of further metrics, called with labels and logits: of the images
        whose accuracy is logged while training, of clean ones in `evaluate`.
      weighted_metrics: the same, called with the weights of the examples, too.
      run_eagerly: as in Keras.
      steps_per_execution: as in Keras.
      jit_compile: True, False, or "auto": what pays for this network on this
        device.
      auto_scale_loss: as in Keras.

    Raises:
      InputError: for a loss or metrics that steps cannot use, or if the network
        computes in another type than float32.
    """
    types_ = {layer.compute_dtype for layer in self.network._flatten_layers()}  # noqa: SLF001
    if types_ != {"float32"}:
      raise InputError(
        f"The network computes in {sorted(types_)}: attacks and their gradients need float32 "
        "(keras.config.set_dtype_policy('float32') before building it); to train in bfloat16, give the model "
        "`mixed_precision='bfloat16'`."
      )
    # Refused now, not at the first step, where layers of others cannot.
    networks.logits_function(self.network, precision=self.lowest_precision)
    if loss_weights is not None:
      raise InputError("`loss_weights`: terms of the loss have weights of their own, settings of the method.")
    num_classes = self._checks.num_classes
    own_loss = None if loss is None else compile_arguments.example_loss(loss, num_classes, self.label_smoothing)
    metrics = metrics and compile_arguments.without_own_accuracy(metrics, "metrics")
    weighted_metrics = weighted_metrics and compile_arguments.without_own_accuracy(weighted_metrics, "weighted_metrics")
    self._train_metrics = {name: keras.metrics.Mean(name=name) for name in self._logged_names()}
    names = ["loss", "accuracy", "robust_loss", "robust_accuracy"]
    self._test_metrics = {name: keras.metrics.Mean(name=name) for name in names}
    # Not as an attribute, which Keras would count as two metrics.
    listed = compile_arguments.directed(
      {**{name: self._train_metrics[name] for name in self._weighted_names()}, **self._test_metrics}
    )
    self._directed = lambda: listed
    # As it was asked for: a model that is loaded on another device chooses there.
    self._asked_jit = jit_compile if isinstance(jit_compile, bool) else Jit(jit_compile).value
    # Steps call XLA themselves, within what Keras compiles: see `_run`.
    super().compile(
      optimizer=optimizer,
      metrics=metrics or None,
      weighted_metrics=weighted_metrics or None,
      run_eagerly=run_eagerly,
      steps_per_execution=steps_per_execution,
      jit_compile=False,
      auto_scale_loss=auto_scale_loss,
    )
    self._compile_config.config["loss"] = loss  # Keras saves it with the model.
    self._example_loss = own_loss
    if not (metrics or weighted_metrics):
      self._compile_metrics = None  # of an earlier call
    else:
      # Built now: not within a step that XLA compiles, and callbacks know their directions.
      given: typing.Any = self._compile_metrics
      given.build(tf.zeros([1], tf.int32), tf.zeros([1, num_classes]))
      compile_arguments.require_other_names(given.metrics, (*self._train_metrics, *self._test_metrics))
    self._compiled = functools.cache(
      functools.partial(tf.function, jit_compile=True, reduce_retracing=True, autograph=False)
    )
    asked = Jit.OFF if run_eagerly else jit_compile
    self.compiler = networks.Compiler(asked, self.network, self.lowest_precision)
    # Built now, so that the first step does not trace the graph twice.
    self.optimizer.build(self.trained_variables)

  @property
  def xla(self) -> bool:
    """Whether XLA compiles the steps."""
    return self.compiler.xla

  def first_call(self, call: typing.Callable[[], typing.Any], what: str) -> typing.Any:
    """Calls a function of steps for the first time, and once more where XLA was preferred and cannot compile it.

    Args:
      call: traces the steps anew and runs them on the same batches, each time.
      what: is compiled, for the sentence.

    Raises:
      InputError: where XLA was asked for and fails.
    """
    before = self._values() if self.compiler.trying else {}

    def require_untouched():
      after = self._values()
      changed = [name for name in after if name in before and before[name] != after[name]]
      if changed:
        raise RuntimeError(f"a step that XLA could not compile changed {changed}")

    return self.compiler.first_call(call, what, lambda: self._checks.refused, require_untouched)

  def _values(self) -> dict[str, bytes]:
    """The bits of all that steps change, by place and name."""
    parts = {**self.state(), **{f"metric {metric.name}": metric for metric in self.metrics}}
    return {
      f"{part}: {i} {variable.name}": np.asarray(variable).tobytes()
      for part, owner in parts.items()
      for i, variable in enumerate(owner.variables)
    }

  def make_train_function(self, force: bool = False) -> None:
    """As in Keras; the first call falls back where XLA fails."""
    self._make("train_function", super().make_train_function, force)

  def make_test_function(self, force: bool = False) -> None:
    """As in Keras; the first call falls back where XLA fails."""
    self._make("test_function", super().make_test_function, force)

  def make_predict_function(self, force: bool = False) -> None:
    """As in Keras; the first call falls back where XLA fails."""
    self._make("predict_function", super().make_predict_function, force)

  def _make(self, name, make, force):
    if getattr(self, name) is not None and not force:
      return
    make(force=True)
    if not self.xla:
      return

    def first(data):
      again = _replayed(data, self.steps_per_execution)

      def call():
        make(force=True)
        return getattr(self, name)(again())

      try:
        return self.first_call(call, f"the model's {name.removesuffix('_function')} steps")
      except BaseException:
        setattr(self, name, first)
        raise

    setattr(self, name, first)

  def get_compile_config(self) -> dict:
    config = super().get_compile_config()
    return {**config, "jit_compile": self._asked_jit} if config else {}

  def compile_from_config(self, config: dict) -> None:
    given = keras.saving.deserialize_keras_object(config)
    self.compile(**{name: value for name, value in given.items() if value is not None})

  def _assert_compile_called(self, method_name: str | None = None) -> None:
    """Keras's check before `fit`, `evaluate` and their kin, with a remedy."""
    if not self.compiled:
      raise InputError(
        f"The model is not compiled: call compile(optimizer) before {method_name or 'this'}. A model that was compiled "
        "and saved is compiled when it is loaded, unless with compile=False."
      )

  def fit(self, x: typing.Any = None, y: typing.Any = None, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras, with the same arguments. Images must lie in [0, 1], labels be classes of the network."""
    given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
    self._checks.require(x, y)
    if given.get("class_weight") is not None:
      weights = compile_arguments.class_weights(given["class_weight"], self._checks.num_classes)
      if isinstance(x, (dict, tf.data.Dataset)):
        given["x"] = compile_arguments.weighted_by_class(x, weights)
        del given["class_weight"]
      else:
        given["class_weight"] = weights
    if given.get("validation_data") is not None:
      with self._checks.sentences("validation_data"):
        self._checks.require(*keras.utils.unpack_x_y_sample_weight(given["validation_data"])[:2])
    with self._checks.sentences():
      return super().fit(**given)

  def evaluate(self, x: typing.Any = None, y: typing.Any = None, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras, with the same arguments: clean and robust loss and accuracy."""
    within_fit = kwargs.get("_use_cached_eval_dataset", False)
    if not within_fit:  # `fit` has looked at them.
      self._checks.require(x, y)
    with self._checks.sentences("validation_data" if within_fit else ""):
      # Keras before 3.14 leaves tensors.
      found = super().evaluate(x, y, *args, **kwargs)
      return keras.tree.map_structure(lambda value: float(value) if np.ndim(value) == 0 else np.asarray(value), found)

  def predict(self, x: typing.Any, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras, with the same arguments: dict of "embedding" and "logits" of all images."""
    self._checks.require(x, labelled=False)
    with self._checks.sentences():
      return super().predict(x, *args, **kwargs)

  def train_on_batch(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras."""
    with self._checks.sentences():
      return super().train_on_batch(*args, **kwargs)

  def test_on_batch(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras."""
    with self._checks.sentences():
      return super().test_on_batch(*args, **kwargs)

  def predict_on_batch(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
    """As in Keras."""
    with self._checks.sentences():
      return super().predict_on_batch(*args, **kwargs)

  @property
  def metrics(self) -> list[keras.metrics.Metric]:
    own: list = [] if self._compile_metrics is None else [self._compile_metrics]
    return [*self._train_metrics.values(), *([self._directed()] if self._test_metrics else []), *own]

  @property
  def logged_names(self) -> list[str]:
    """The names of what a training step returns, in their order."""
    own: list[str] = [] if self._compile_metrics is None else [metric.name for metric in self._compile_metrics.metrics]
    return [*self._train_metrics, *own]

  @property
  def test_means(self) -> list[keras.metrics.Mean]:
    """The means over examples that `stream_test_step` feeds, named as `evaluate` names them."""
    return list(self._test_metrics.values())

  def train_step(self, data: typing.Any) -> dict[str, tf.Tensor]:
    """One step on a stream batch or on `(images, labels)`; see the class."""
    return self._run(self._train_on, self._checks.batch(data, self.accumulate_steps))

  def stream_train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`train_step` on a batch as a `data.BatchStream` makes it, which needs no check (of 0.5 ms)."""
    return self._run(self._train_on, batch)

  def stream_test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`test_step` on a batch "image", "label" of data that were checked when they were read."""
    return self._run(self._test_on, batch)

  def _alone(self, function):
    """The attack of a step, which XLA compiles by itself where it cannot compile the step: on several replicas."""
    # A trace for every replica: it holds that replica's tensors and variables.
    alone = self.xla and replicas.count() > 1
    return tf.function(function, jit_compile=True, autograph=False) if alone else function

  def _train_on(self, batch):
    self.trace_count += 1
    with replicas.part_of_the_batch(batch), networks.synchronised(self.sync_batch_norm):
      return self._trained_on(batch)

  def _trained_on(self, batch):
    step = tf.convert_to_tensor(self.optimizer.iterations)
    seed = self.step_seed(step)
    # What layers draw is drawn for a replica's images alone: not the same numbers on each.
    key = draw(seed, "network")
    networks.reseed(self.network, seeds.fold(key, replicas.index()) if replicas.count() > 1 else key)
    batch = self.complete_batch(batch, seed)
    chosen = {role: (tf.stop_gradient(x), y) for role, (x, y) in self.step_images(batch, seed, step).items()}
    images = {role: x for role, (x, _) in chosen.items()}
    labels = {role: y for role, (_, y) in chosen.items()}
    found = self._update_rule.apply(
      lambda: self.compute(images, labels, seed, step, batch.get("weight")), self.optimizer, self.trained_variables
    )
    if self._negatives is not None:
      self._negatives.update(found.step)
    if self.inner_attack.needs_gradient:
      epsilon = self._scheduled(self.attack.epsilon, step, "epsilon")
      self.inner_attack.update(found.image_gradient, balls.get(self.attack.norm), epsilon, step)
    if self._average is not None:
      self._average.update(self.network, step)
    role = self.recipe.accuracy_role
    logged = self._user_metrics(labels[role], found.step.outputs[role]["logits"], batch.get("weight"))
    return {**_updated(self._train_metrics, found.values), **logged}

  def _user_metrics(self, labels, logits, weights):
    """Feeds the metrics that `compile` was given, and returns their values by name."""
    if self._compile_metrics is None:
      return {}
    self._compile_metrics.update_state(labels, logits, sample_weight=weights)
    return self._compile_metrics.result()

  def test_step(self, data: typing.Any) -> dict[str, tf.Tensor]:
    """Clean and robust loss and accuracy of a batch, in inference mode."""
    return self._run(self._test_on, self._checks.batch(data))

  def predict_step(self, data: typing.Any) -> dict[str, tf.Tensor]:
    """Embeddings and logits of a batch."""
    return self._run(self._predict_on, self._checks.images(data))

  def _predict_on(self, images):
    return self(images, training=False)

  def _run(self, function, *arguments):
    """A step on a batch that was checked, compiled by XLA where the model is; its check is not."""
    # Replicas cannot add up their gradients within what XLA compiles.
    function = self._compiled(function) if self.xla and replicas.count() == 1 else function
    # Else what needs no batch, the count of steps for one, would not wait for its check.
    with tf.control_dependencies(tf.nest.flatten(arguments)):
      return function(*arguments)

  def _test_on(self, batch):
    with replicas.part_of_the_batch(batch):
      return self._tested_on(batch)

  def _tested_on(self, batch):
    images, labels = batch["image"], batch["label"]
    forward = networks.logits_function(self.judged_network)
    logits = forward(images)
    config, measure = self.validation_attack, objectives.get(self.validation_attack.objective)
    ball, key = balls.get(config.norm), seeds.key(self.seed, "validation")
    found = gradient_loop(
      forward,
      measure,
      ball,
      images,
      labels,
      ball.random_start(images, config.epsilon, key) if config.random_start else images,
      epsilon=config.epsilon,
      step_size=config.step_size,
      steps=config.steps,
      momentum=config.momentum,
      momentum_rule=config.momentum_rule,
    )
    clean_right = predicted_classes(logits, labels.dtype) == labels
    weights = batch.get("weight", 1.0)
    values = {
      "loss": weights
      * (self._example_loss(labels, logits) if self._example_loss else objectives.cross_entropy(logits, labels)),
      "accuracy": tf.cast(clean_right, tf.float32),
      "robust_loss": weights * found.loss,
      "robust_accuracy": tf.cast(clean_right & ~found.success, tf.float32),
    }
    return {**_updated(self._test_metrics, values), **self._user_metrics(labels, logits, batch.get("weight"))}

  def complete_batch(self, data: typing.Any, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """A batch with class-mates and a pool, from the batch itself if need be.

    Args:
      data: a dict of `data.BatchStream`, or `(images, labels)`.
      seed: key int32 [2] of the step.

    Returns:
      Dict as `data.BatchStream.batch` makes it.
    """
    batch = dict(data) if isinstance(data, dict) else self._checks.batch(data)
    if "positive" not in batch:
      batch["positive"] = tf.gather(batch["image"], mining.random_classmate(batch["label"], draw(seed, "classmates")))
    if "pool" not in batch:
      batch["pool"], batch["pool_label"] = batch["image"], batch["label"]
    return batch

  def step_examples(self, data: typing.Any, step: typing.Any) -> dict[str, tf.Tensor]:
    """The images of a step, for people to look at: role -> float32 [n, ...].

    Args:
      data: as in `complete_batch`.
      step: the number of the step.
    """
    seed = self.step_seed(step)
    return {role: x for role, (x, _) in self.step_images(self.complete_batch(data, seed), seed, step).items()}

  def step_seed(self, step: typing.Any) -> tf.Tensor:
    """Key int32 [2] of a step, the same on every replica."""
    key = seeds.fold(seeds.key(self.seed, "step"), tf.convert_to_tensor(step))
    return seeds.fold(key, 0)  # Runs that exist folded in the number of their replica.

  def get_config(self) -> dict:
    # A subclass has its method by itself, unless it was given another.
    own = {} if self.method == type(self).method else {"method": self.method}
    return {
      "network": keras.saving.serialize_keras_object(self.network),
      **own,
      "attack": self.attack.to_dict(),
      "validation_attack": self.validation_attack.to_dict(),
      "weight_decay": self.weight_decay,
      "label_smoothing": self.label_smoothing,
      "schedules": [[name, [list(point) for point in points]] for name, points in self.schedules],
      "weight_average": self.weight_average,
      "weight_average_start": self.weight_average_start,
      "accumulate_steps": self.accumulate_steps,
      "attack_batch_size": self.attack_batch_size,
      "batch_size": self.batch_size,
      "attack_precision": self.attack_precision.value,
      "mixed_precision": self.mixed_precision.value,
      "seed": self.seed,
      "sync_batch_norm": self.sync_batch_norm,
      "negatives_across_replicas": self.negatives_across_replicas,
      "name": self.name,
      **self.settings.to_dict(),
    }

  @classmethod
  def from_config(cls, config: dict) -> RobustModel:
    config = copy.deepcopy(config)  # Keras empties what it deserialises.
    method = config.get("method", cls.method)
    if method not in recipes.names():
      raise InputError(
        f"The model was trained by method {method!r}, which is not known here: import the module that registers it "
        "(recipes.register) before loading."
      )
    config["network"] = keras.saving.deserialize_keras_object(config["network"])
    for name in ("attack", "validation_attack"):
      config[name] = AttackConfig.from_dict(config[name])
    return cls(**config)


def _accuracy(logits, labels):
  return tf.reduce_mean(tf.cast(predicted_classes(logits, labels.dtype) == labels, tf.float32))


def _replayed(data, count):
  """A function that gives what a function of Keras is called with, each time the same: its next `count` batches."""
  if isinstance(data, list):
    return lambda: data
  batches = list(itertools.islice(data, count))
  if isinstance(data, tf.data.Iterator):
    # Of the same type, so that one trace serves the first call and all others.
    feed = tf.data.Dataset.from_generator(lambda: batches, output_signature=data.element_spec)
    return lambda: iter(feed)
  return lambda: iter(batches)


def _joined(parts):
  """[count, size, ...] -> [count size, ...]."""
  return tf.reshape(parts, [-1, *parts.shape[2:]])


def _updated(metrics, values):
  """Feeds values to their metrics and returns the running means by name."""
  if set(metrics) != set(values):
    raise RuntimeError(f"terms and metrics differ: {sorted(set(metrics) ^ set(values))}")
  for name, metric in metrics.items():
    metric.update_state(values[name])
  return {name: metric.result() for name, metric in metrics.items()}
