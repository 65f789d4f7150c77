"""The protocol of survivors: in which order attacks see which images, and what counts.

Only images that are classified correctly are attacked. What fell to a shorter
attack is not shown to a longer one that contains it; attacks on survivors see
what their suite left; attacks of other libraries see what all earlier ones left
in their ball. Attacks that draw run under every seed.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy as np

from tla_tf import attack_configs
from tla_tf.errors import InputError
from tla_tf.evaluation import rows
from tla_tf.evaluation.judge import Judge, KeptImages, Verdict, joined
from tla_tf.evaluation.suites import NamedAttack
from tla_tf.records.evaluation import Alarm, AttackRow, CleanShare, Probes, WorstCase
from tla_tf.summaries import alarms, shares
from tla_tf.summaries.flat_rows import attack_rows, ball_rows, suite_rows
from tla_tf.types import Target


class Evaluation(typing.NamedTuple):
  """Clean and robust accuracies, and the images behind them.

  Attributes:
    clean, attacks, worst_case: as in `evaluation.json`.
    kept: dict from attack name to KeptImages, of all seeds.
    fell: dict from attack name to bool [n], what fell to the attack itself under any
      seed; of one on survivors, without what had fallen before.
    right: bool [n], images classified correctly.
    nonfinite: dict from attack name, and from `alarms.CLEAN`, to the number of images
      whose logits hold NaN or infinity.
    probes: Probes, or None where none were run.
    alarms: signs that the accuracies flatter the network.
    notes: sentences on how it was judged that a reader should know.
  """

  clean: CleanShare
  attacks: list[AttackRow]
  worst_case: WorstCase
  kept: dict[str, KeptImages]
  fell: dict[str, np.ndarray]
  right: np.ndarray
  nonfinite: dict[str, int]
  probes: Probes | None = None
  alarms: collections.abc.Sequence[Alarm] = ()
  notes: tuple[str, ...] = ()

  def rows(self) -> list[dict[str, typing.Any]]:
    """Flat dicts for `pandas.DataFrame`: clean images, every attack, and the worst cases, by suite and by ball."""
    about = {"num_examples": self.clean.num_examples}
    rows = attack_rows(about, self.clean, self.attacks)
    return rows + suite_rows(about, self.worst_case, self.attacks) + ball_rows(about, self.worst_case)


def evaluate_with(
  judge: Judge,
  attacks: collections.abc.Sequence[NamedAttack],
  *,
  seed: int = 0,
  num_seeds: int = 1,
  survivors: bool = True,
) -> Evaluation:
  """Clean and robust accuracy under every attack.

  Args:
    judge: `Judge`.
    attacks: `suites.NamedAttack` with different names.
    seed: of random starts.
    num_seeds: how many seeds, from `seed` on, attacks that draw are run with.
    survivors: take over what fell to an earlier attack that a longer one contains;
      False attacks these images again.

  Returns:
    Evaluation, without probes and alarms.

  Raises:
    InputError: for two different attacks of one name.
  """
  require_names(attacks)
  right, count = judge.right, len(judge.data)
  found: list[AttackRow] = []
  kept: dict[str, KeptImages] = {}
  fell: dict[str, np.ndarray] = {}
  nonfinite = {alarms.CLEAN: int(judge.nonfinite_outputs.sum())}
  done: list[tuple[NamedAttack, int | None, Verdict]] = []
  for attack in attacks:
    draws = attack_configs.draws(attack.config) or attack.target is Target.RANDOM or attack.on_survivors
    runs, gone = [], []
    for used in range(seed, seed + (num_seeds if draws else 1)):
      # What draws nothing is the same under every seed.
      earlier = [(other, verdict) for other, its_seed, verdict in done if its_seed in (used, None)]
      chain = shares.union(
        [verdict.fell for other, verdict in earlier if attack.on_survivors and other.suite == attack.suite], count
      )
      verdict = next((verdict for other, verdict in earlier if _same(attack, other)), None)
      if verdict is None:
        parts = shares.union(
          [verdict.fell for other, verdict in earlier if survivors and _contains(attack, other)], count
        )
        verdict = judge.run(attack, used, spare=chain | parts)
        verdict = verdict._replace(fell=verdict.fell | parts)
      runs.append(verdict)
      gone.append(verdict.fell | chain)
      done.append((attack, used if draws else None, verdict))
    fell[attack.name] = shares.union([run.fell for run in runs], count)
    nonfinite[attack.name] = int(np.any([run.nonfinite_outputs for run in runs], axis=0).sum())
    kept[attack.name] = joined([run.kept for run in runs], judge.data.image_shape)
    found.append(rows.attack_row(attack, runs, gone, right))
  worst_case = shares.worst_case(found, fell, right)
  return Evaluation(shares.clean_share(right), found, worst_case, kept, fell, right, nonfinite)


def require_names(attacks: collections.abc.Iterable[NamedAttack]) -> None:
  """Raises InputError where two attacks of one name are not one attack."""
  # Suites may share an attack, but not one whose result depends on the rest of its suite.
  same = [attack if attack.on_survivors else attack._replace(suite="") for attack in attacks]
  by_name = {attack.name: attack for attack in same}
  twice = next((attack.name for attack in same if by_name[attack.name] != attack), None)
  chains = [attack.name for attack in same if attack.on_survivors]
  twice = twice or next((name for name in chains if chains.count(name) > 1), None)
  if twice:
    raise InputError(f"Two attacks of the suites are called {twice!r} but differ; rename yours.")


def _same(attack: NamedAttack, earlier: NamedAttack) -> bool:
  """Whether two suites share an attack, which is then run once."""
  return not attack.on_survivors and attack._replace(suite="", name="") == earlier._replace(suite="", name="")


def _contains(attack: NamedAttack, earlier: NamedAttack) -> bool:
  """Whether what fell to an earlier attack counts for this one, too, and is not shown to it."""
  if isinstance(attack.config, attack_configs.LibraryConfig):
    # They are to say what ours missed.
    return earlier.config.norm is attack.config.norm and earlier.config.epsilon <= attack.config.epsilon
  untargeted = attack.target is Target.NONE and earlier.target is Target.NONE
  return untargeted and attack_configs.contains(attack.config, earlier.config)
