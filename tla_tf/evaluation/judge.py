"""Runs attacks over test images and counts, image by image, what stands.

An image counts as broken only if an independent verifier accepts the
adversarial image and the network, called on it anew, errs. Images are read,
attacked and judged batch by batch: memory does not grow with their number.
"""

import base64
import hashlib
import time
import typing

import numpy as np
import tensorflow as tf

from tla_tf import attack_configs, networks
from tla_tf.attacks import AttackFactory, batch_slots, survivor_batches
from tla_tf.errors import InputError
from tla_tf.evaluation import statistics, verifier
from tla_tf.networks import resolve_jit
from tla_tf.ops import seeds
from tla_tf.types import Norm, Target

_BATCH = 100
# Factors on a change that rounding to 8 bits undid.
_OUTWARD = (1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0)


class Found(typing.NamedTuple):
  """Images that an attack broke.

  Attributes:
    positions: int [m], where in the data they are.
    adversarial: float32 [m, ...].
    predictions: int [m], what the network says of them.
  """

  positions: np.ndarray
  adversarial: np.ndarray
  predictions: np.ndarray


class Verdict(typing.NamedTuple):
  """What one attack with one seed did to the data, one row an image.

  Attributes:
    broken: bool [n].
    reached: bool [n], broken, and the network says the target; of a targeted
      attack.
    attacked: bool [n], whether the attack saw the image at all.
    distance: float64 [n] of the broken images in the attack's norm, else NaN.
    zero_gradients: bool [n], the whole gradient was 0 at some step of a start
      that did not break the image.
    nonfinite_gradients: bool [n], it held NaN or infinity at some step.
    rejected: number of successes that the verifier refused.
    found: Found.
    seconds: wall-clock time, of this process.
  """

  broken: np.ndarray
  reached: np.ndarray
  attacked: np.ndarray
  distance: np.ndarray
  zero_gradients: np.ndarray
  nonfinite_gradients: np.ndarray
  rejected: int
  found: Found
  seconds: float


class Judge:
  """Attacks the images of one data set that one network classifies correctly.

  Args:
    network: a `keras.Model` or callable, images -> logits or a dict with
      "logits".
    data: `ImageData`.
    jit: see `attacks.Attack`.
    batch_size: images a batch.
    eight_bit: adversarial images are rounded to whole grey levels before they
      are judged.
    keep: how many broken images an attack's `Found` keeps; None for all.
    transfers: see `attacks.AttackFactory`.
    recall: function from (name, compute) to the result of `compute`, see
      `Journal.recall`; None computes always.
    progress: called with (attack name, batches done, batches to do), or None.
  """

  def __init__(
    self,
    network,
    data,
    *,
    jit="auto",
    batch_size=_BATCH,
    eight_bit=False,
    keep=None,
    transfers=None,
    recall=None,
    progress=None,
  ):
    self.data = data
    self._factory = AttackFactory(network, jit, transfers)
    self._batch_size = batch_size
    self._eight_bit = eight_bit
    self._keep = keep
    self._recall = recall or (lambda name, compute: compute())
    self._progress = progress
    forward = networks.logits_function(network)
    self._logits = tf.function(
      forward,
      jit_compile=resolve_jit(jit, network),
      autograph=False,
      input_signature=[tf.TensorSpec([None, *data.image_shape], tf.float32)],
    )
    self.clean_logits = self.logits(data.float_images, len(data))
    # Remembered: a network that answers otherwise when asked again must not shift who is attacked.
    self.predictions = np.array(self._recall(["clean"], lambda: said(self.clean_logits).tolist()), int)
    self.right = self.predictions == data.labels

  def logits(self, fetch, count):
    """Logits float32 [count, classes] of the images that `fetch(positions)` gives."""
    parts = []
    for begin in range(0, count, self._batch_size):
      chosen = np.arange(begin, min(begin + self._batch_size, count))
      padded = np.resize(chosen, batch_slots(len(chosen), self._batch_size))
      parts.append(self._logits(fetch(padded)).numpy()[: len(chosen)])
    return np.concatenate(parts)

  def run(self, attack, seed=0, among=None, spare=None, label=None):
    """Attacks with one seed.

    Args:
      attack: NamedAttack.
      seed: of random starts and targets.
      among: bool [n], images to attack; None for those classified correctly.
      spare: bool [n], images known to be broken: they are not attacked.
      label: name in the journal and for `progress`; the attack's by default.

    Returns:
      Verdict; `broken` holds what this run broke, without `spare`.
    """
    began = time.monotonic()
    among = self.right if among is None else among
    places = np.flatnonzero(among if spare is None else among & ~spare)
    label = label or attack.name
    labels, targets = self.data.labels[places], self._targets(attack.target, seed, places)
    count = len(self.data)
    verdict = Verdict(
      *(np.zeros(count, bool) for _ in range(3)),
      np.full(count, np.nan),
      np.zeros(count, bool),
      np.zeros(count, bool),
      0,
      None,
      0.0,
    )
    broken, kept, rejected = np.zeros(len(places), bool), [], 0
    made = self._factory.make(attack.config)
    restarts = made.restarts
    if not attack_configs.draws(attack.config):
      # What draws nothing aims at another class at every restart, or does the same again.
      restarts = min(restarts, self.clean_logits.shape[1] - 1) if targets is None else 1

    def judged(restart, chosen, attack_chosen):
      aims = None if targets is None else targets[chosen]
      who = np.stack([places[chosen], places[chosen] if aims is None else aims]).astype(np.int64)
      name = [label, seed, restart, len(chosen), hashlib.sha256(who.tobytes()).hexdigest()[:16]]
      return self._recall(name, lambda: self._judged(attack.config, attack_chosen(), places[chosen], aims, kept))

    batches = survivor_batches(
      made,
      lambda positions: self.data.float_images(places[positions]),
      labels,
      broken=broken,
      example_ids=places,
      targets=targets,
      seed=seed,
      restarts=restarts,
      batch_size=self._batch_size,
      run=judged,
      progress=self._progress and (lambda done, total: self._progress(label, done, total)),
    )
    for chosen, outcome in batches:
      fell = chosen[np.array(outcome["broken"], int)]
      broken[fell] = True
      verdict.broken[places[fell]] = True
      verdict.distance[places[fell]] = outcome["distance"]
      verdict.attacked[places[chosen]] = True
      for name in ("reached", "zero_gradients", "nonfinite_gradients"):
        getattr(verdict, name)[places[chosen[np.array(outcome[name], int)]]] = True
      rejected += outcome["rejected"]
      room = None if self._keep is None else max(0, self._keep - sum(len(part.positions) for part in kept))
      kept.append(self._unpacked(outcome["kept"], room))
    return verdict._replace(
      rejected=rejected, found=_joined(kept, self.data.image_shape), seconds=time.monotonic() - began
    )

  def _targets(self, target, seed, places):
    """int32 [m]: the classes aimed at, or None."""
    if target is Target.NONE:
      return None
    logits, labels = self.clean_logits[places], self.data.labels[places]
    classes = logits.shape[1]
    if target is Target.RANDOM:
      keys = seeds.example_keys(seeds.key(seed, "target"), tf.constant(places, tf.int32))
      shift = 1 + np.floor(seeds.uniform([len(places)], keys).numpy() * (classes - 1)).astype(np.int32)
      return (labels + shift) % classes
    edge = np.inf if target is Target.LEAST_LIKELY else -np.inf
    others = np.where(np.arange(classes) == labels[:, None], edge, logits)
    return (others.argmin(1) if target is Target.LEAST_LIKELY else others.argmax(1)).astype(np.int32)

  def _judged(self, config, result, positions, targets, kept):
    """JSON values: what of an attack's result on a batch holds, by row of the batch."""
    clean, labels = self.data.float_images(positions), self.data.labels[positions]
    shown, valid, answers = self._shown(config, clean, result.adversarial)
    errs = valid & (answers != labels)
    if self._eight_bit:
      # Rounding undoes what lies just beyond a boundary: the same direction further out may still do.
      for factor in _OUTWARD:
        lost = np.flatnonzero(result.success & ~errs)
        if not len(lost):
          break
        change = result.adversarial[lost] - clean[lost]
        size = verifier.distance(clean[lost], result.adversarial[lost], config.norm.value)
        limit = np.inf if config.norm is Norm.L0 else config.epsilon / np.maximum(size, 1e-12)
        scale = np.minimum(factor, limit).reshape(-1, *[1] * (clean.ndim - 1))
        tried = self._shown(config, clean[lost], np.clip(clean[lost] + scale * change, 0, 1).astype(np.float32))
        works = tried[1] & (tried[2] != labels[lost])
        for kept_part, new in zip((shown, valid, answers), tried):
          kept_part[lost[works]] = new[works]
        errs = valid & (answers != labels)
    broken = np.flatnonzero(errs)
    room = None if self._keep is None else max(0, self._keep - sum(len(part.positions) for part in kept))
    chosen = broken[:room]
    return {
      "broken": broken.tolist(),
      "reached": [] if targets is None else np.flatnonzero(valid & (answers == targets)).tolist(),
      "distance": [float(d) for d in np.asarray(verifier.distance(clean[broken], shown[broken], config.norm.value))],
      # A loss that has done its work may be flat: only what stands is hidden by a gradient of 0.
      "zero_gradients": np.flatnonzero((result.zero_gradients > 0) & ~errs).tolist(),
      "nonfinite_gradients": np.flatnonzero(result.nonfinite_gradients > 0).tolist(),
      "rejected": int((result.success & ~valid).sum()),
      "kept": [
        positions[chosen].tolist(),
        answers[chosen].tolist(),
        base64.b64encode(shown[chosen].astype("<f4").tobytes()).decode(),
      ],
    }

  def _shown(self, config, clean, adversarial):
    """(images as they are shown to the network, whether they keep the rules, what it says of them)."""
    rules = (config.epsilon, config.norm.value)
    if self._eight_bit:
      adversarial = verifier.to_eight_bits(clean, adversarial, *rules)
    valid = verifier.verify(clean, adversarial, *rules, eight_bit=self._eight_bit)
    # Refused images may hold anything; the network is shown the clean ones in their place.
    shown = np.where(valid.reshape(-1, *[1] * (clean.ndim - 1)), adversarial, clean)
    return shown, valid, said(self.logits(lambda rows: shown[rows], len(shown)))

  def _unpacked(self, packed, room):
    positions, predictions, text = packed
    images = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, *self.data.image_shape)
    return Found(np.array(positions, int)[:room], images[:room], np.array(predictions, int)[:room])


def said(logits):
  """Predicted classes int [n]; -1, which is always wrong, where a logit is NaN."""
  return np.where(np.isnan(logits).any(1), -1, np.argmax(logits, 1))


def _joined(parts, image_shape):
  if not parts:
    return Found(np.zeros(0, int), np.zeros((0, *image_shape), np.float32), np.zeros(0, int))
  return Found(*(np.concatenate(fields) for fields in zip(*parts)))


class Evaluation(typing.NamedTuple):
  """What `evaluate` returns.

  Attributes:
    results: dict with "clean", "attacks" and "worst_case" as in
      `evaluation.json`.
    found: dict from attack name to Found, of all seeds.
    broken: dict from attack name to bool [n], what the attack itself broke under
      any seed; of one on survivors, without what had fallen before.
    right: bool [n], images classified correctly.
  """

  results: dict
  found: dict
  broken: dict
  right: np.ndarray


def evaluate(network, data, attacks, *, seed=0, num_seeds=1, survivors=True, **settings):
  """Clean and robust accuracy under every attack of a suite.

  Args:
    network: see `Judge`.
    data: `ImageData` to judge on.
    attacks: sequence of `suites.NamedAttack` with different names.
    seed: of random starts.
    num_seeds: how many seeds, from `seed` on, attacks that draw are run with.
    survivors: take over what an earlier attack broke that a longer one
      contains; False attacks these images again.
    **settings: see `Judge`.

  Returns:
    Evaluation.
  """
  return evaluate_with(Judge(network, data, **settings), attacks, seed=seed, num_seeds=num_seeds, survivors=survivors)


def evaluate_with(judge, attacks, *, seed=0, num_seeds=1, survivors=True):
  """`evaluate` by a `Judge` of the caller's.

  Raises:
    InputError: for two different attacks of one name.
  """
  require_names(attacks)
  right, count = judge.right, len(judge.data)
  rows, found, broken, done = [], {}, {}, []
  for attack in attacks:
    draws = attack_configs.draws(attack.config) or attack.target is Target.RANDOM or attack.on_survivors
    runs, fallen = [], []
    for used in range(seed, seed + (num_seeds if draws else 1)):
      # What draws nothing is the same under every seed.
      earlier = [(other, verdict) for other, its_seed, verdict in done if its_seed in (used, None)]
      chain = _union(
        [verdict.broken for other, verdict in earlier if attack.on_survivors and other.suite == attack.suite], count
      )
      verdict = next((verdict for other, verdict in earlier if _same(attack, other)), None)
      if verdict is None:
        parts = _union([verdict.broken for other, verdict in earlier if survivors and _contains(attack, other)], count)
        verdict = judge.run(attack, used, spare=chain | parts)
        verdict = verdict._replace(broken=verdict.broken | parts)
      runs.append(verdict)
      fallen.append(verdict.broken | chain)
      done.append((attack, used if draws else None, verdict))
    broken[attack.name] = _union([run.broken for run in runs], count)
    found[attack.name] = _joined([run.found for run in runs], judge.data.image_shape)
    rows.append(_row(attack, runs, fallen, right))
  results = {
    "clean": {
      "accuracy": float(right.mean()),
      "num_examples": count,
      "interval": statistics.interval(right.sum(), count),
    },
    "attacks": rows,
    "worst_case": _worst_case(attacks, broken, right),
  }
  return Evaluation(results, found, broken, right)


def require_names(attacks):
  """Raises InputError where two attacks of one name are not one attack."""
  # Suites may share an attack, but not one whose result depends on the rest of its suite.
  same = [attack if attack.on_survivors else attack._replace(suite="") for attack in attacks]
  by_name = {attack.name: attack for attack in same}
  twice = next((attack.name for attack in same if by_name[attack.name] != attack), None)
  chains = [attack.name for attack in same if attack.on_survivors]
  twice = twice or next((name for name in chains if chains.count(name) > 1), None)
  if twice:
    raise InputError(f"Two attacks of the suites are called {twice!r} but differ; rename yours.")


def _union(masks, count):
  return np.any([np.zeros(count, bool), *masks], axis=0)


def _same(attack, earlier):
  """Whether two suites share an attack, which is then run once."""
  return not attack.on_survivors and attack._replace(suite="", name="") == earlier._replace(suite="", name="")


def _contains(attack, earlier):
  untargeted = attack.target is Target.NONE and earlier.target is Target.NONE
  return untargeted and attack_configs.contains(attack.config, earlier.config)


def _row(attack, runs, fallen, right):
  """An attack's entry in `evaluation.json`; `fallen` is what had been broken after each run."""
  accuracies = [float((right & ~mask).mean()) for mask in fallen]
  mean, deviation = statistics.spread(accuracies)
  distances = np.concatenate([run.distance[~np.isnan(run.distance)] for run in runs])
  settings = attack.config.to_dict()
  row = {
    "name": attack.name,
    "suite": attack.suite,
    "kind": attack_configs.kind(attack.config),
    "norm": attack.config.norm.value,
    "epsilon": attack.config.epsilon,
    "steps": settings.get("steps"),
    "step_size": settings.get("step_size"),
    "restarts": attack.config.restarts,
    "settings": settings,
    "target": attack.target.value,
    "on_survivors": attack.on_survivors,
    "accuracy": mean,
    "interval": statistics.interval(round(mean * len(right)), len(right)),
    "accuracy_per_seed": accuracies,
    "accuracy_std": deviation,
    "accuracy_worst_over_seeds": float((right & ~np.any(fallen, axis=0)).mean()),
    "images_attacked": int(sum(run.attacked.sum() for run in runs)),
    "median_distance": float(np.median(distances)) if len(distances) else None,
    "seconds": round(sum(run.seconds for run in runs), 3),
    "diagnostics": {
      "zero_gradient_images": int(sum(run.zero_gradients.sum() for run in runs)),
      "nonfinite_gradient_images": int(sum(run.nonfinite_gradients.sum() for run in runs)),
      "rejected_by_verifier": int(sum(run.rejected for run in runs)),
    },
  }
  if attack.target is not Target.NONE:
    row["target_success"] = float(np.mean([run.reached.sum() / max(1, run.attacked.sum()) for run in runs]))
  return row


def _worst_case(attacks, broken, right):
  """Accuracy where an image must withstand every attack: of all, by suite, and by norm and epsilon."""

  def standing(chosen):
    left = right & ~_union([broken[attack.name] for attack in chosen], len(right))
    return {"accuracy": float(left.mean()), "interval": statistics.interval(left.sum(), len(left))}

  suites = list(dict.fromkeys(attack.suite for attack in attacks))
  threats = {}
  for attack in attacks:
    threats.setdefault((attack.config.norm.value, attack.config.epsilon), []).append(attack)
  return {
    **standing(attacks),
    "by_suite": {suite: standing([a for a in attacks if a.suite == suite]) for suite in suites},
    "by_threat": [{"norm": norm, "epsilon": epsilon, **standing(own)} for (norm, epsilon), own in threats.items()],
  }
