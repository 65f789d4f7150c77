"""Alarms: signs that an evaluation flatters the network.

The checklist of Carlini et al. 2019 ("On Evaluating Adversarial Robustness",
Sections 3 to 5) and the warnings of AutoAttack (Croce and Hein 2020), computed
from the rows of a suite, the images that fell to each attack, and the probes.
docs/alarms.md lists them for people.
"""

from __future__ import annotations

import collections.abc
import types
import typing

import numpy as np

from tla_tf.attack_configs import falls_short, fixed_steps
from tla_tf.records.evaluation import Alarm, AttackRow, CrossCheck, Probes
from tla_tf.records.shown import cross_checked, short_of_its_ball
from tla_tf.types import Norm, Objective, Target


class _Evidence(typing.NamedTuple):
  rows: list[AttackRow]
  fell: dict[str, np.ndarray]
  right: np.ndarray
  probes: Probes | None
  probabilities: bool
  range_doubt: str | None
  cross_check: collections.abc.Sequence[CrossCheck]
  nonfinite: collections.abc.Mapping[str, int]

  def untargeted(self, *kinds: str, norm: Norm | None = None, epsilon: float | None = None) -> list[AttackRow]:
    """Rows of these kinds, untargeted, in a ball where one is given."""
    return [
      row
      for row in self.rows
      if row.kind in kinds
      and row.target is Target.NONE
      and (norm is None or (row.norm, row.epsilon) == (norm, epsilon))
    ]

  def fallen(self, row: AttackRow) -> int:
    """How many images fell to an attack."""
    return int((self.right & self.fell[row.name]).sum())


# What images are called that nothing attacks.
CLEAN = "clean"
# Attacks with gradients of the network itself.
_WHITE_BOX = ("gradient", "apgd", "fab", "carlini_wagner", "deepfool", "jsma")
# Differences of fewer images are chance.
_FEW = 3
# Share of all images that another library may break when ours could not.
_MISSED = 0.003


def raise_alarms(
  rows: collections.abc.Sequence[AttackRow],
  fell: dict[str, np.ndarray],
  right: np.ndarray,
  probes: Probes | None = None,
  probabilities: bool = False,
  range_doubt: str | None = None,
  cross_check: collections.abc.Sequence[CrossCheck] = (),
  judged_by: collections.abc.Sequence[str] = (),
  nonfinite: collections.abc.Mapping[str, int] = types.MappingProxyType({}),
) -> list[Alarm]:
  """The alarms of an evaluation.

  Args:
    rows: the rows of its attacks.
    fell: dict from attack name to bool [n].
    right: bool [n], images classified correctly.
    probes: what `probes.probe` returns, or None.
    probabilities: whether logits are logarithms of probabilities.
    range_doubt: why the pixel range may be wrong, or None.
    cross_check: what other libraries found that ours had missed.
    judged_by: suites that run besides those of the rows: no remedy advises them.
    nonfinite: from attack name, and from `CLEAN`, to the number of images whose logits
      hold NaN or infinity.

  Returns:
    List of `Alarm`.
  """
  evidence = _Evidence(list(rows), fell, np.asarray(right), probes, probabilities, range_doubt, cross_check, nonfinite)
  more = _more({row.norm for row in evidence.rows}, {*judged_by, *(row.suite for row in evidence.rows)})
  alarms = []
  for check in _CHECKS:
    if seen := check(evidence):
      why, remedy = _WORDS[check.__name__]
      alarms.append(Alarm(check.__name__.strip("_").upper(), seen, why, remedy.format(more=more)))
  return alarms


# Stronger and stronger suites.
_LADDER = ("auto_attack", "auto_attack_plus")


def _more(norms: set[Norm], judged_by: set[str]) -> str:
  """What is stronger than the suites that have been run, in words."""
  ladder = ("auto_attack_l2",) if Norm.L2 in norms and Norm.LINF not in norms else _LADDER
  climbed = max((i for i, suite in enumerate(ladder) if suite in judged_by), default=-1)
  if climbed + 1 < len(ladder):
    return f"the suite {ladder[climbed + 1]}"
  return "a list of your own with more starts, steps and queries"


def _zero_gradients(evidence: _Evidence) -> str | None:
  worst = _worst(evidence, "zero_gradient_images")
  if worst is None:
    return None
  return (
    f"{worst[0]}: the gradient of {worst[1]} of {worst[2]} attacked images was 0 in every pixel at "
    "some step of a start that left them standing."
  )


def _nonfinite_gradients(evidence: _Evidence) -> str | None:
  worst = _worst(evidence, "nonfinite_gradient_images", least=0.0)
  if worst is None:
    return None
  return f"{worst[0]}: the gradient of {worst[1]} of {worst[2]} attacked images held NaN or infinity."


def _nonfinite_outputs(evidence: _Evidence) -> str | None:
  images = {CLEAN: "clean images", **{row.name: f"attacked by {row.name}" for row in evidence.rows}}
  return _among_logits({words: evidence.nonfinite.get(name, 0) for name, words in images.items()})


def _among_logits(images: collections.abc.Mapping[str, int]) -> str | None:
  listed = ", ".join(f"of {count} {words}" for words, count in images.items() if count)
  return f"There is NaN or infinity among the logits {listed}." if listed else None


def nonfinite_outputs(images: collections.abc.Mapping[str, int]) -> str | None:
  """The alarm NONFINITE_OUTPUTS as a sentence, of who does not judge.

  Args:
    images: from words, "clean images", to how many have NaN or infinity among their logits.

  Returns:
    What was seen and what is to be done; None where nothing was.
  """
  seen, (_, remedy) = _among_logits(images), _WORDS[_nonfinite_outputs.__name__]
  return seen and f"NONFINITE_OUTPUTS: {seen} {remedy}"


def _worst(evidence: _Evidence, name: str, least: float = 0.01) -> tuple | None:
  """(attack, images, attacked images) of the attack with the largest share, or None if no share is above `least`."""
  shares = [
    (row.name, getattr(row.diagnostics, name), row.images_attacked) for row in evidence.rows if row.images_attacked
  ]
  worst = max(shares, key=lambda found: found[1] / found[2], default=None)
  return worst if worst and worst[1] / worst[2] > least else None


def _one_step_is_enough(evidence: _Evidence) -> str | None:
  for norm, epsilon in _threats(evidence):
    rows = evidence.untargeted("gradient", norm=norm, epsilon=epsilon)
    one = [row for row in rows if row.steps == 1]
    many = [row for row in rows if row.config.steps > 1 and row.config.objective is Objective.CROSS_ENTROPY]
    for single in one:
      for longer in many:
        few, more = evidence.fallen(single), evidence.fallen(longer)
        if more < evidence.right.sum() and few >= max(more, _FEW):
          return f"{single.name} broke {few} images, {longer.name} only {more}."
  if evidence.probes:
    first, last, count = evidence.probes.steps[0], evidence.probes.steps[-1], evidence.probes.num_examples
    few, more = (round((evidence.probes.clean_accuracy - point.accuracy) * count) for point in (first, last))
    if last.accuracy > 0 and few >= max(more, _FEW):
      return f"One step broke {few} of {count} probed images, {last.steps} steps only {more}."
  return None


def _more_steps_help(evidence: _Evidence) -> str | None:
  if not evidence.probes:
    return None
  *_, half, full = evidence.probes.steps
  gain = half.accuracy - full.accuracy
  if gain * evidence.probes.num_examples < _FEW or gain < 0.02:
    return None
  return (
    f"PGD with {half.steps} steps leaves {half.accuracy:.1%} of {evidence.probes.num_examples} probed "
    f"images, with {full.steps} steps {full.accuracy:.1%}."
  )


def _more_restarts_help(evidence: _Evidence) -> str | None:
  rows = evidence.untargeted("gradient")
  for row in rows:
    for other in rows:
      same = other.config.replace(restarts=row.restarts) == row.config
      gain = other.accuracy - row.accuracy
      if same and row.restarts > other.restarts and gain > 0.02 and gain * len(evidence.right) >= _FEW:
        return (
          f"{row.name} ({row.restarts} starts) leaves {row.accuracy:.1%}, {other.name} "
          f"({other.restarts}) {other.accuracy:.1%}."
        )
  return None


def _noise_is_enough(evidence: _Evidence) -> str | None:
  if not evidence.probes:
    return None
  noise, clean = evidence.probes.noise, evidence.probes.clean_accuracy
  at = next((p.accuracy for p in evidence.probes.epsilons if p.epsilon == evidence.probes.epsilon), 0.0)
  guessed, attacked = clean - noise.accuracy, clean - at
  if round(guessed * evidence.probes.num_examples) < 1 or guessed < attacked - 1e-9:
    return None
  return (
    f"{noise.tries} random points of the ball broke {guessed:.1%} of the probed images, PGD from one start "
    f"{attacked:.1%}."
  )


def _large_epsilon_survives(evidence: _Evidence) -> str | None:
  if not evidence.probes:
    return None
  last = evidence.probes.epsilons[-1]
  if last.accuracy <= 0.01:
    return None
  return (
    f"With epsilon {last.epsilon:.3g} ({evidence.probes.norm}), which allows every image, PGD still leaves "
    f"{last.accuracy:.1%}."
  )


def _cannot_cross_the_ball(evidence: _Evidence) -> str | None:
  """Of every attack, targeted ones too: it is a matter of settings."""
  short = {row.name: row.config for row in evidence.rows if falls_short(row.config)}
  listed = [
    f"{name}: {short_of_its_ball(stepped)}" for name, config in short.items() if (stepped := fixed_steps(config))
  ]
  return f"{'; '.join(listed)}." if listed else None


def _transfer_is_stronger(evidence: _Evidence) -> str | None:
  return _black_box(evidence, "transfer", "images made on another network broke")


def _square_is_stronger(evidence: _Evidence) -> str | None:
  return _black_box(evidence, "square", "a search without gradients broke")


def _black_box(evidence: _Evidence, kind: str, words: str) -> str | None:
  """What a black-box attack broke that no white-box attack in the same ball did."""
  for row in evidence.untargeted(kind):
    white = evidence.untargeted(*_WHITE_BOX, norm=row.norm, epsilon=row.epsilon)
    if not white:
      continue
    seen = np.any([evidence.fell[other.name] for other in white], axis=0)
    alone = int((evidence.right & evidence.fell[row.name] & ~seen).sum())
    if alone >= max(_FEW, 0.002 * len(seen)):
      return f"{row.name}: {words} {alone} images that no attack with gradients broke."
  return None


def _independent_is_stronger(evidence: _Evidence) -> str | None:
  for found in evidence.cross_check:
    if found.share > _MISSED:
      return cross_checked(found)
  return None


def _randomised_outputs(evidence: _Evidence) -> str | None:
  differs = evidence.probes and not evidence.probes.same_outputs
  return "The network gave different logits for the same images." if differs else None


def _probabilities_given(evidence: _Evidence) -> str | None:
  return "The model returns probabilities, not logits." if evidence.probabilities else None


def _pixel_range_doubtful(evidence: _Evidence) -> str | None:
  return evidence.range_doubt


def _rejected_by_verifier(evidence: _Evidence) -> str | None:
  counts = {row.name: row.diagnostics.rejected_by_verifier for row in evidence.rows}
  listed = ", ".join(f"{name}: {count} images" for name, count in counts.items() if count)
  return f"{listed}." if listed else None


def _threats(evidence: _Evidence) -> list[tuple]:
  return list(dict.fromkeys((row.norm, row.epsilon) for row in evidence.rows))


_CHECKS = (
  _zero_gradients,
  _nonfinite_gradients,
  _nonfinite_outputs,
  _one_step_is_enough,
  _more_steps_help,
  _more_restarts_help,
  _noise_is_enough,
  _large_epsilon_survives,
  _cannot_cross_the_ball,
  _transfer_is_stronger,
  _square_is_stronger,
  _independent_is_stronger,
  _randomised_outputs,
  _probabilities_given,
  _pixel_range_doubtful,
  _rejected_by_verifier,
)

# Why it matters, and what to do; {more} is a stronger suite than those that have been run.
_WORDS = {
  "_zero_gradients": (
    "An attack that follows a gradient of 0 stands still: saturated outputs, a quantised input or another operation "
    "without a derivative hides the way, and accuracy says nothing.",
    "Attack with margin and DLR losses and without gradients ({more}); differentiate through a smooth stand-in for the "
    "operation (BPDA).",
  ),
  "_nonfinite_gradients": (
    "Such an example is not attacked at that step.",
    "Find the operation (a square root at 0, a division, an overflow) and make its derivative finite.",
  ),
  "_nonfinite_outputs": (
    "NaN names no class: such an image counts as misclassified, and what an attack does there says more of overflow "
    "than of robustness.",
    "Judge an earlier checkpoint, or find the operation (a division, a logarithm, an overflow) and make it finite; "
    "compute in float32.",
  ),
  "_one_step_is_enough": (
    "More steps should find more. If they do not, gradients mislead: a sign of masking, or of a nearly linear network.",
    "Try smaller and larger step sizes and {more}; look at the loss along the way.",
  ),
  "_more_steps_help": (
    "The attack has not converged: with still more steps accuracy would fall further.",
    "Attack with more steps until the curve of accuracy against steps is flat; APGD adapts its step size.",
  ),
  "_more_restarts_help": (
    "The result depends on lucky starts: still more of them would break more.",
    "Use more restarts, more steps, or {more}.",
  ),
  "_noise_is_enough": (
    "Following the gradient should beat guessing. If it does not, gradients are masked.",
    "Attack without gradients, by Square ({more}); average gradients over the noise if the network is randomised.",
  ),
  "_large_epsilon_survives": (
    "In a ball that holds every image the network can always be fooled. An attack that fails there fails anywhere.",
    "The attack is broken or its gradients are masked: try other losses, step sizes, and {more}.",
  ),
  "_cannot_cross_the_ball": (
    "The attack searches a smaller ball than its epsilon says: its accuracy is that of a smaller epsilon.",
    "Give it more or longer steps: steps x step_size must be epsilon at the least, twice that to cross the ball from a "
    "random start.",
  ),
  "_transfer_is_stronger": (
    "An attacker who knows the network should do at least as well as one who does not: gradients are masked.",
    "Do not report the white-box figures; strengthen the attacks until they find what transfer finds.",
  ),
  "_square_is_stronger": (
    "Random search should find next to nothing that gradients miss. If it does, gradients are masked, or the attacks "
    "with gradients were too short.",
    "Do not report these figures alone: add {more}, and attack a smooth stand-in.",
  ),
  "_independent_is_stronger": (
    "Attacks of other libraries should find next to nothing after ours. If they do, ours were too short for this "
    "network, or one of them has a fault.",
    "Report the accuracy with them (rows of cross_check in the tables); judge with {more} besides. If that misses the "
    "images, too, report it.",
  ),
  "_randomised_outputs": (
    "Attacks must aim at the average over the randomness, or they chase noise; accuracy, too, is a random number.",
    "Fix the randomness, or average gradients over draws (EOT), and judge with several seeds (num_seeds).",
  ),
  "_probabilities_given": (
    "Probabilities of 0 and 1 have lost the differences that attacks follow.",
    "Export the model without its softmax.",
  ),
  "_pixel_range_doubtful": (
    "A model that is fed pixels of another range than it was trained on saturates, and epsilon means something else.",
    "Find out which pixels the model takes and state them (pixel_range).",
  ),
  "_rejected_by_verifier": (
    "An attack claims images outside the ball or the pixel range. They were not counted.",
    "A fault of the attack: report it.",
  ),
}
CODES = tuple(check.__name__.strip("_").upper() for check in _CHECKS)
