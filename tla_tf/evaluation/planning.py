"""What an evaluation is asked for, and the attacks that follow, before anything is loaded."""

from __future__ import annotations

import collections.abc
import math
import pathlib
import typing

from tla_tf import datasets
from tla_tf.attack_configs import falls_short, fixed_steps, require_classes
from tla_tf.config import require, require_number, require_whole
from tla_tf.errors import InputError
from tla_tf.evaluation import suites
from tla_tf.evaluation.protocol import require_names
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.shown import pixels, short_of_its_ball
from tla_tf.types import Norm, Split, Target

# Of one norm: one, several, or the usual one.
Radii = float | collections.abc.Sequence[float] | None
_NORMS = {"epsilon": Norm.LINF, "l2_epsilon": Norm.L2, "l0_epsilon": Norm.L0}


class EvaluationOptions(typing.NamedTuple):
  """How a subject is judged.

  Attributes:
    suites: names out of `suites.SUITES`.
    suite_file: a user's own list of attacks besides, see `suites.read_suite`; or None.
    epsilon: radius of the attacks in L-infinity: of the suites, and of those of
      `suite_file` that leave it out; a sequence makes an evaluation each. None for that
      of the run's training, or the data set's where it has none.
    l2_epsilon: the same in L2; None for the data set's.
    l0_epsilon: the same in L0, a share of an image's pixel values.
    num_examples: first images to use; None for all.
    seed: of random starts.
    num_seeds: how many seeds, from `seed` on, attacks that draw are run with.
    batch_size: images a batch.
    eight_bit: adversarial images are rounded to whole grey levels.
    search_precision: a `types.Precision`, in which gradient attacks search; judged is
      in float32.
    probe_examples: images of the probes; 0 for no probes and no curves.
    cross_check: whether other libraries attack what withstands ours, in the same balls.
    cross_check_attacks: which of `attack_configs.LIBRARY_ATTACKS`; none for all that use
      gradients or scores, of the libraries that are installed.
    split: a `types.Split`, which images to judge on.
  """

  suites: tuple[str, ...] = ("quick",)
  suite_file: str | pathlib.Path | None = None
  epsilon: Radii = None
  l2_epsilon: Radii = None
  l0_epsilon: Radii = None
  num_examples: int | None = None
  seed: int = 0
  num_seeds: int = 1
  batch_size: int = 100
  eight_bit: bool = False
  search_precision: str = "float32"
  probe_examples: int = 100
  cross_check: bool = False
  cross_check_attacks: tuple[str, ...] = ()
  split: Split | str = Split.TEST


class PlannedAttacks(typing.NamedTuple):
  """What a subject is judged with.

  Attributes:
    attacks: NamedAttack of all suites, in order.
    epsilon: radius of probes where no attack has one, in L-infinity.
    notes: sentences for the record.
    unmoved: sentences on radii that some suites have no use for.
    replaced: sentences, for the record too, on attacks that stand in for others.
  """

  attacks: list[NamedAttack]
  epsilon: float
  notes: tuple[str, ...]
  unmoved: tuple[str, ...] = ()
  replaced: tuple[str, ...] = ()

  @property
  def said(self) -> list[str]:
    """All sentences but `notes`."""
    return [*self.unmoved, *self.cautions, *self.replaced]

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
    InputError: for a bad suite, two attacks of one name, several radii, or one without
      a suite that it is for.
  """
  _require_sound(options)
  several = next((name for name in _NORMS if isinstance(getattr(options, name), tuple)), None)
  if several:
    raise InputError(f"`{several}`: one radius an evaluation; `one_by_one` divides these options.")
  own = datasets.get(dataset).suite_scale.epsilon
  asked: dict[str, float | None] = {name: typing.cast("float | None", getattr(options, name)) for name in _NORMS}
  radii = dict(asked)
  if asked["epsilon"] is None and training_epsilon not in (None, own):
    radii["epsilon"] = training_epsilon
  made = {name: make(**radii) for name, make in _makers(options, dataset, black_box).items()}
  attacks = [attack for suite in made.values() for attack in suite]
  if options.cross_check or options.cross_check_attacks:
    attacks += suites.cross_check(attacks, options.cross_check_attacks)
  require_names(attacks)
  notes: tuple[str, ...] = ()
  if asked["epsilon"] is None and radii["epsilon"] is not None and radii["epsilon"] in linf_radii(attacks):
    notes = (f"Its epsilon is {pixels(radii['epsilon'])}, not {dataset}'s {pixels(own)}: judged at its own.",)
  unmoved = _unmoved(options, dataset, black_box)
  return PlannedAttacks(attacks, own if radii["epsilon"] is None else radii["epsilon"], notes, unmoved)


def one_by_one(options: EvaluationOptions, dataset: str) -> list[EvaluationOptions]:
  """Options with several radii as options with one each, in their order.

  A suite is in those at whose radii it differs from what it was before: in the first
  ones, and in those of its norms.

  Args:
    options: EvaluationOptions.
    dataset: the data set's name.

  Raises:
    InputError: for wrong options.
  """
  _require_sound(options)
  lists = {
    name: value if isinstance(value, tuple) else (value,) for name in _NORMS for value in [_radii(options, name)]
  }
  moves = _moves(_makers(options, dataset, False))
  found: list[EvaluationOptions] = []
  known: dict[str, list] = {}
  for i in range(max(map(len, lists.values()))):
    radii = {name: each[min(i, len(each) - 1)] for name, each in lists.items()}
    new = []
    for name, make in _makers(options, dataset, False).items():
      attacks = make(**radii)
      if attacks not in known.setdefault(name, []):
        new.append(name)
        known[name].append(attacks)
    if found:  # The first say what they have no attack for; those that follow are for what their radii change.
      radii = {name: radius if moves[name] & set(new) else None for name, radius in radii.items()}
    if new:
      file = options.suite_file if _FILE in new else None
      found.append(options._replace(**radii, suites=tuple(name for name in new if name != _FILE), suite_file=file))
  return found


# Stands for a user's own list among the names of suites.
_FILE = ""


def _makers(options: EvaluationOptions, dataset: str, black_box: bool) -> dict[str, typing.Callable]:
  """Functions from radii to the attacks of each suite, by its name."""

  def of(name: str) -> typing.Callable:
    return lambda **radii: suites.suite(name, dataset, black_box=black_box and name == "table1", **radii)

  makers: dict[str, typing.Callable] = {name: of(name) for name in options.suites}
  path = options.suite_file
  if path:
    makers[_FILE] = lambda **radii: suites.read_suite(path, dataset, **radii)
  return makers


def _moves(makers: dict[str, typing.Callable]) -> dict[str, set[str]]:
  """The suites that a radius changes, by its argument."""
  return {
    argument: {name for name, make in makers.items() if make(**{argument: 0.01}) != make(**{argument: 0.02})}
    for argument in _NORMS
  }


def _unmoved(options: EvaluationOptions, dataset: str, black_box: bool) -> tuple[str, ...]:
  """Sentences on radii that are given and that some suites have no attack for.

  Raises:
    InputError: for a radius that no suite has an attack for.
  """
  sentences = []
  makers = _makers(options, dataset, black_box)
  moves = _moves(makers)
  for argument, norm in _NORMS.items():
    if getattr(options, argument) is None:
      continue
    shown = {name: name or pathlib.Path(options.suite_file or "").name for name in makers}
    left = [shown[name] for name in makers if name not in moves[argument]]
    where = (
      f"`{argument}` is a radius in {_SHOWN[norm]}, in which {' and '.join(left)} {'has' if len(left) == 1 else 'have'}"
    )
    if not moves[argument]:
      others = " or ".join(f"`{other}`" for other in _NORMS if moves[other])
      remedy = f"; give {others}" if others else ": write it into the `suite_file`"
      raise InputError(f"{where} no attack of a radius that is left open{remedy}.")
    if left:
      sentences.append(f"{where} no attack of a radius that is left open: unchanged.")
  return tuple(sentences)


_SHOWN = {Norm.LINF: "L-infinity", Norm.L2: "L2", Norm.L0: "L0"}


def _radii(options: EvaluationOptions, name: str) -> typing.Any:
  """The radii of a norm: a number, a tuple of several, or None."""
  value = getattr(options, name)
  if value is None or isinstance(value, (int, float)):
    return value
  given = tuple(value) if isinstance(value, collections.abc.Sequence) and not isinstance(value, str) else ()
  require(given, name, "a radius or several", value)
  require(len(set(given)) == len(given), name, "every radius once", value)
  return given if len(given) > 1 else given[0]


def replaced_for_classes(plan: PlannedAttacks, num_classes: int) -> PlannedAttacks:
  """A plan for data with so few classes that losses of its suites are constant: others stand in, and it says so.

  Raises:
    InputError: for such a loss in a list of the user's own.
  """
  attacks: list[NamedAttack] = []
  sentences: list[str] = []
  for before in plan.attacks:
    if before.suite not in suites.SUITES:
      try:
        require_classes(before.config, num_classes, before.target is not Target.NONE)
      except InputError as error:
        raise InputError(f"{before.name}: {error}") from None
    (after,) = suites.for_classes([before], num_classes)
    if after != before:
      sentences.append(
        f"{before.suite}: with {num_classes} classes the loss of {before.name} is constant; {after.name} stands in."
      )
    attacks.append(after)
  require_names(attacks)
  return plan._replace(attacks=attacks, replaced=tuple(sentences))


def linf_radii(attacks: typing.Iterable[NamedAttack]) -> frozenset[float]:
  """The radii of the attacks in L-infinity."""
  return frozenset(attack.config.epsilon for attack in attacks if attack.config.norm is Norm.LINF)


def _require_sound(options: EvaluationOptions) -> None:
  if not options.suites and not options.suite_file:
    raise InputError("Nothing to judge with: name some `suites`, or give a `suite_file`.")
  for name, norm in _NORMS.items():
    for radius in numbers if isinstance(numbers := _radii(options, name), tuple) else (numbers,):
      if radius is not None:
        one = options._replace(**{name: radius})
        require_number(one, name, high=math.inf if norm is Norm.L2 else 1.0)
  if options.num_examples is not None:
    require_whole(options, "num_examples", low=1)
  require_whole(options, "seed", "probe_examples")
  require_whole(options, "num_seeds", "batch_size", low=1)
