"""Judging a network that is in memory, on images that are in memory: the Python face of `tla-evaluate`."""

from __future__ import annotations

import collections.abc
import typing

import numpy as np
import tensorflow as tf

from tla_tf import networks
from tla_tf.config import Config, require
from tla_tf.data import ImageData
from tla_tf.errors import InputError
from tla_tf.evaluation import probes, suites
from tla_tf.evaluation.judge import Judge
from tla_tf.evaluation.planning import PlannedAttacks, replaced_for_classes
from tla_tf.evaluation.protocol import Evaluation, evaluate_with
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.networks import ForeignNetwork
from tla_tf.networks.foreign import are_probabilities
from tla_tf.records.shown import pixels
from tla_tf.summaries import alarms
from tla_tf.types import Norm

# What a network is judged with: a suite's name, an attack's settings, or an attack with a name.
Attacks = str | Config | NamedAttack | collections.abc.Sequence["str | Config | NamedAttack"]
# Images that tell probabilities from logits, and those that tell pixel ranges from each other.
_LOOKED_AT, _CHECKED = 20, 200
# Without a data set: whose numbers of steps and shares of the radius a suite has.
_SCALE = "mnist"


def evaluate(
  network: typing.Any,
  data: typing.Any,
  attacks: Attacks,
  *,
  dataset: str | None = None,
  epsilon: float | None = None,
  l2_epsilon: float | None = None,
  l0_epsilon: float | None = None,
  seed: int = 0,
  num_seeds: int = 1,
  survivors: bool = True,
  probe_examples: int = 100,
  note: collections.abc.Callable[[str], typing.Any] | None = None,
  **settings: typing.Any,
) -> Evaluation:
  """Clean and robust accuracy of a network under attacks, and the alarms that say whether to believe them.

  Example:
    outcome = evaluate(network, (images, labels), "auto_attack", epsilon=8 / 255, note=print)
    pandas.DataFrame(outcome.rows())

  Args:
    network: a `keras.Model` or callable, images in [0, 1] -> logits or a dict with
      "logits"; a `networks.ForeignNetwork` for one of other pixels, whose range is
      checked. One that returns probabilities is noticed, and attacked by their logarithms.
    data: what to judge on: `ImageData`; a pair of arrays (images [n, height, width,
      channels], float in [0, 1] or uint8, and labels integer [n]); or a finite
      `tf.data.Dataset` of such pairs, in batches or not.
    attacks: a suite's name, settings of an attack, a `suites.NamedAttack`, or several of
      these.
    dataset: a data set's name, whose radii and steps suites have; None for `epsilon` and
      as many steps as on MNIST.
    epsilon: radius of the suites' attacks in L-infinity; None for the data set's.
    l2_epsilon: the same in L2.
    l0_epsilon: the same in L0.
    seed: of random starts.
    num_seeds: how many seeds, from `seed` on, attacks that draw are run with.
    survivors: take over what fell to an earlier attack that a longer one contains;
      False attacks these images again.
    probe_examples: images of the probes behind some alarms, the first ones; 0 for none.
    note: called with sentences that a reader should know, alarms among them; or None.
    **settings: further arguments of `Judge`: jit, batch_size, eight_bit, keep, transfers,
      progress.

  Returns:
    Evaluation.

  Raises:
    InputError: for images, labels or attacks that are none, a network that does not
      fit them, or two different attacks of one name.
  """
  require(isinstance(probe_examples, int) and probe_examples >= 0, "probe_examples", "a whole number", probe_examples)
  asked = _asked(attacks, dataset, {"epsilon": epsilon, "l2_epsilon": l2_epsilon, "l0_epsilon": l0_epsilon})
  data = _image_data(data, network)
  plan = replaced_for_classes(PlannedAttacks(asked, epsilon or 0.0, ()), data.num_classes)
  network, notes = _as_logits(network, data)
  notes += plan.replaced
  said = note or (lambda sentence: None)
  for sentence in notes:
    said(sentence)
  judge = Judge(network, data, **settings)
  found = evaluate_with(judge, plan.attacks, seed=seed, num_seeds=num_seeds, survivors=survivors)
  probed = probes.probe_attacks(judge, plan.attacks, epsilon, probe_examples, seed)
  foreign = isinstance(network, ForeignNetwork)
  raised = alarms.raise_alarms(
    found.attacks,
    found.fell,
    found.right,
    probed,
    foreign and network.probabilities,
    network.doubt if foreign else None,
    nonfinite=found.nonfinite,
  )
  for alarm in raised:
    said(f"{alarm.code}: {alarm.seen} {alarm.remedy}")
  return found._replace(probes=probed, alarms=raised, notes=notes)


def _asked(attacks: Attacks, dataset: str | None, radii: dict[str, float | None]) -> list[NamedAttack]:
  """The attacks by name."""
  # A NamedAttack is a tuple, too.
  given = [attacks] if isinstance(attacks, (str, Config, NamedAttack)) else list(attacks)
  require(given, "attacks", "a suite's name, an attack's settings, or several", attacks)
  if (dataset or any(radii.values())) and not any(isinstance(each, str) for each in given):
    raise InputError("`dataset` and `epsilon` are for suites: an attack's settings have a radius of their own.")
  found: list[NamedAttack] = []
  for each in given:
    if isinstance(each, str):
      found += _suite(each, dataset, radii)
    elif isinstance(each, NamedAttack):
      found.append(each)
    else:
      require(isinstance(each, Config) and hasattr(each, "epsilon"), "attacks", "settings of attacks", each)
      found.append(NamedAttack(_new_name(each, found), each))
  return found


def _suite(name: str, dataset: str | None, radii: dict[str, float | None]) -> tuple[NamedAttack, ...]:
  attacks = suites.suite(
    name, dataset or _SCALE, radii["epsilon"], l2_epsilon=radii["l2_epsilon"], l0_epsilon=radii["l0_epsilon"]
  )
  if dataset is None:
    arguments = {Norm.LINF: "epsilon", Norm.L2: "l2_epsilon", Norm.L0: "l0_epsilon"}
    needed = dict.fromkeys(arguments[attack.config.norm] for attack in attacks)
    missing = [f"`{argument}`" for argument in needed if radii[argument] is None]
    if missing:
      raise InputError(f"Suite {name!r} has radii of a data set: give `dataset`, or {' and '.join(missing)}.")
  return attacks


def _new_name(config: typing.Any, before: list[NamedAttack]) -> str:
  """The usual name of an attack, with what tells it from another of that name."""
  taken = {attack.name: attack.config for attack in before}
  name = suites.usual_name(config)
  tries = [name, f"{name} at {pixels(config.epsilon)}", *(f"{name} ({i})" for i in range(2, len(taken) + 3))]
  return next(name for name in tries if taken.get(name, config) == config)


def _image_data(data: typing.Any, network: typing.Any) -> ImageData:
  """What is judged on; how many classes arrays have is for the network to say."""
  if isinstance(data, ImageData):
    return data
  images, labels = _arrays(data)
  count = np.shape(networks.logits_function(network)(tf.constant(_float(images[:1]))))[-1]
  return ImageData(images, labels, tuple(map(str, range(count))))


def _arrays(data: typing.Any) -> tuple[np.ndarray, np.ndarray]:
  if isinstance(data, tf.data.Dataset):
    return _collected(data)
  if not (isinstance(data, (tuple, list)) and len(data) == 2):
    raise InputError("`data`: expected (images, labels), ImageData or a tf.data.Dataset of (images, labels).")
  images, labels = (np.asarray(part) for part in data)
  if images.ndim != 4 or not len(images):
    raise InputError(f"`data`: expected images [n, height, width, channels], got shape {images.shape}.")
  return images, labels


def _collected(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
  spec = dataset.element_spec
  if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
    raise InputError("`data`: expected a tf.data.Dataset of pairs (images, labels).")
  if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
    raise InputError("`data`: the tf.data.Dataset never ends: judge on `dataset.take(n)`.")
  if spec[0].shape.rank == 3:
    dataset = dataset.batch(100)
  parts = [(images.numpy(), labels.numpy()) for images, labels in dataset]
  if not parts:
    raise InputError("`data`: the tf.data.Dataset is empty.")
  return _arrays([np.concatenate(column) for column in zip(*parts)])


def _float(images: np.ndarray) -> np.ndarray:
  return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def _as_logits(network: typing.Any, data: ImageData) -> tuple[typing.Any, tuple[str, ...]]:
  """The network as attacks take it, and what there is to say about it."""
  if not isinstance(network, ForeignNetwork):
    outputs = networks.logits_function(network)(tf.constant(data.float_images(slice(_LOOKED_AT))))
    if not are_probabilities(np.asarray(outputs, np.float64)):
      return network, ()
    network = ForeignNetwork(network)
  network.check(data.float_images(slice(_CHECKED)), data.labels[:_CHECKED], data.num_classes)
  words = f"{network.name} returns probabilities: their logarithms are attacked."
  return network, (words[0].upper() + words[1:],) if network.probabilities else ()
