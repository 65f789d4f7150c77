"""What an evaluation is asked for, and the attacks that follow, before anything is loaded."""

from __future__ import annotations

import pathlib
import typing

from tla_tf import datasets
from tla_tf.attack_configs import falls_short, fixed_steps
from tla_tf.config import require_number, require_whole
from tla_tf.errors import InputError
from tla_tf.evaluation import suites
from tla_tf.evaluation.protocol import require_names
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.shown import pixels, short_of_its_ball
from tla_tf.types import Norm


class EvaluationOptions(typing.NamedTuple):
  """How a subject is judged.

  Attributes:
    suites: names out of `suites.SUITES`.
    suite_file: a user's own list of attacks besides, see `suites.read_suite`; or None.
    epsilon: radius of the suites' attacks in L-infinity; None for that of the run's
      training, or the data set's where it has none.
    num_examples: first test images to use; None for all.
    seed: of random starts.
    num_seeds: how many seeds, from `seed` on, attacks that draw are run with.
    batch_size: images a batch.
    eight_bit: adversarial images are rounded to whole grey levels.
    probe_examples: images of the probes; 0 for no probes and no curves.
  """

  suites: tuple[str, ...] = ("quick",)
  suite_file: str | pathlib.Path | None = None
  epsilon: float | None = None
  num_examples: int | None = None
  seed: int = 0
  num_seeds: int = 1
  batch_size: int = 100
  eight_bit: bool = False
  probe_examples: int = 100


class PlannedAttacks(typing.NamedTuple):
  """What a subject is judged with.

  Attributes:
    attacks: NamedAttack of all suites, in order.
    epsilon: radius of probes where no attack has one, in L-infinity.
    notes: sentences for the record.
  """

  attacks: list[NamedAttack]
  epsilon: float
  notes: tuple[str, ...]

  @property
  def cautions(self) -> list[str]:
    """Sentences on attacks that search less than their ball: to be said before they run, an alarm when they have."""
    return [
      f"{attack.name} cannot reach the edge of its ball: {short_of_its_ball(stepped)}; give it more or longer steps."
      for attack in self.attacks
      if falls_short(attack.config) and (stepped := fixed_steps(attack.config))
    ]


def planned_attacks(
  options: EvaluationOptions, dataset: str, black_box: bool = False, training_epsilon: float | None = None
) -> PlannedAttacks:
  """The attacks of all suites of the options.

  Args:
    options: EvaluationOptions.
    dataset: the data set's name.
    black_box: whether table1 has its black-box column.
    training_epsilon: radius in L-infinity that the network was trained at, or None.
      Where it is not the data set's, suites are made for it: step sizes scale with it.

  Returns:
    PlannedAttacks.

  Raises:
    InputError: for a bad suite, two attacks of one name, or an epsilon without a suite
      that it is for.
  """
  _require_sound(options)
  own = datasets.get(dataset).suite_scale.epsilon
  epsilon = options.epsilon
  if epsilon is None and training_epsilon not in (None, own):
    epsilon = training_epsilon
  attacks: list[NamedAttack] = []
  for name in options.suites:
    made = suites.suite(name, dataset, epsilon, black_box and name == "table1")
    if options.epsilon is not None and not linf_radii(made):
      raise InputError(f"`epsilon` is a radius in L-infinity, in which suite {name!r} has no attack.")
    attacks += made
  if options.suite_file:
    attacks += suites.read_suite(options.suite_file, dataset, training_epsilon)
  require_names(attacks)
  notes: tuple[str, ...] = ()
  if options.epsilon is None and epsilon is not None and epsilon in linf_radii(attacks):
    notes = (f"Its epsilon is {pixels(epsilon)}, not {dataset}'s {pixels(own)}: judged at its own.",)
  return PlannedAttacks(attacks, own if epsilon is None else epsilon, notes)


def linf_radii(attacks: typing.Iterable[NamedAttack]) -> frozenset[float]:
  """The radii of the attacks in L-infinity."""
  return frozenset(attack.config.epsilon for attack in attacks if attack.config.norm is Norm.LINF)


def _require_sound(options: EvaluationOptions) -> None:
  if not options.suites and not options.suite_file:
    raise InputError("Nothing to judge with: name some `suites`, or give a `suite_file`.")
  if options.epsilon is not None:
    require_number(options, "epsilon", high=1.0)
    if not options.suites:
      raise InputError("`epsilon` is for the built-in suites: write it into the `suite_file`.")
  if options.num_examples is not None:
    require_whole(options, "num_examples", low=1)
  require_whole(options, "seed", "probe_examples")
  require_whole(options, "num_seeds", "batch_size", low=1)
