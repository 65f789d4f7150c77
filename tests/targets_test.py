"""Targeted attacks: gradient attacks by hand, what is aimed at, what is refused; black box; intervals."""

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import data
from tla_tf.attack_configs import TransferConfig
from tla_tf.attacks import AttackFactory, GradientAttack, attack_survivors, presets
from tla_tf.attacks.attack import missed, runner_up
from tla_tf.errors import InputError
from tla_tf.evaluation import Judge, NamedAttack
from tla_tf.summaries import statistics
from tla_tf.types import Norm, Target

# Logits of three classes: the pixels' products with these columns.
KERNEL = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]], np.float32)


def _linear(images):
  return tf.reshape(images, [-1, 2]) @ KERNEL


def _pixels(*pairs):
  return np.array(pairs, np.float32).reshape(-1, 1, 2, 1)


@pytest.mark.parametrize("target, expected", [(1, (0.4, 0.6)), (2, (0.4, 0.2))])
@pytest.mark.parametrize("preset", [presets.pgd, presets.cw_pgd], ids=["cross-entropy", "margin"])
def test_targeted_steps_by_hand(preset, target, expected):
  """Towards class 1 the first pixel falls and the second rises; towards class 2 both fall."""
  attack = GradientAttack(_linear, preset(0.2, 0.1, 8), jit="off")
  found = attack(_pixels((0.6, 0.4)), [0], targets=[target])
  if target == 1:
    assert found.success.numpy().tolist() == [True]
    assert np.argmax(_linear(found.adversarial)) == 1
  else:
    # Out of reach: the end of the ball, and no success although class 0 may have been left.
    assert found.success.numpy().tolist() == [False]
    np.testing.assert_allclose(np.ravel(found.adversarial), expected, atol=1e-6)


def test_a_targeted_success_is_the_target_alone():
  attack = GradientAttack(_linear, presets.fgsm(0.3), jit="off")
  # Class 2 is aimed at; the step makes class 1 win, which is no success.
  found = attack(_pixels((0.6, 0.59)), [0], targets=[2])
  assert not found.success.numpy()[0]


def test_a_target_that_is_the_label_is_refused():
  attack = GradientAttack(_linear, presets.fgsm(0.3), jit="off")
  with pytest.raises(InputError, match="true class"):
    attack(_pixels((0.6, 0.4), (0.5, 0.4)), [0, 1], targets=[1, 1])
  with pytest.raises(InputError, match="but . `targets`"):
    attack(_pixels((0.6, 0.4)), [0], targets=[1, 2])
  with pytest.raises(InputError, match="but 2 `targets`"):
    attack_survivors(attack, _pixels((0.6, 0.4)), [0], targets=[1, 2])


LOGITS = tf.constant([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.0, 5.0]])


@pytest.mark.parametrize("rank, expected", [(0, [2, 1]), (1, [1, 2]), (2, [3, 0]), (3, [2, 1]), (5, [3, 0])])
def test_runners_up_leave_out_the_label(rank, expected):
  assert runner_up(LOGITS, tf.constant([0, 3]), rank).numpy().tolist() == expected


def test_missing_is_another_class_or_the_target():
  labels = tf.constant([0, 2])
  assert missed(LOGITS, labels).numpy().tolist() == [False, True]
  assert missed(LOGITS, labels, tf.constant([1, 1])).numpy().tolist() == [False, True]


class TestAims:
  """Which classes the judge's targeted attacks aim at."""

  @pytest.fixture
  def judge(self):
    rng = np.random.default_rng(0)
    images = rng.random((40, 1, 2, 1), np.float32)
    labels = np.argmax(images.reshape(40, 2) @ KERNEL, 1)
    return Judge(_linear, data.ImageData(images, labels, ("a", "b", "c")), jit="off", batch_size=7)

  def _reached(self, judge, target):
    seen = []
    make = judge._factory.make  # noqa: SLF001

    def recording(config):
      attack = make(config)
      call = attack.run
      attack.run = lambda images, labels, key, targets, restart: (
        seen.append(np.stack([labels, targets], 1)),
        call(images, labels, key, targets, restart),
      )[1]
      return attack

    judge._factory.make = recording  # noqa: SLF001
    verdict = judge.run(NamedAttack("aimed", presets.pgd(0.9, 0.3, 5), target))
    return verdict, np.unique(np.concatenate(seen), axis=0).tolist()

  def test_second_likely_is_the_other_of_the_first_two(self, judge):
    verdict, aims = self._reached(judge, Target.SECOND_LIKELY)
    assert aims == [[0, 1], [1, 0]]
    assert verdict.reached.sum() > 30 and np.all(verdict.fell[verdict.reached])

  def test_least_likely_is_the_last(self, judge):
    verdict, aims = self._reached(judge, Target.LEAST_LIKELY)
    assert aims == [[0, 2], [1, 2]]
    # Class 2 has the largest logit nowhere but where both pixels are 0.
    assert not verdict.reached.any()

  def test_random_is_any_other(self, judge):
    _, aims = self._reached(judge, Target.RANDOM)
    assert aims == [[0, 1], [0, 2], [1, 0], [1, 2]]


def test_transfer_replays_what_was_made_for_the_example():
  made = _pixels((0.4, 0.6), (0.9, 0.1), (0.2, 0.8))
  config = TransferConfig(presets.pgd(0.45, 0.1, 3))
  attack = AttackFactory(_linear, "off", {config: made}).make(config)
  clean = _pixels((0.6, 0.4), (0.8, 0.1), (0.5, 0.4))
  found = attack_survivors(attack, clean[1:], np.array([0, 0]), example_ids=np.array([1, 2]))
  np.testing.assert_array_equal(found.adversarial, made[1:])
  assert found.success.tolist() == [False, True]
  np.testing.assert_allclose(found.distance, [0.1, 0.4], atol=1e-6)
  whole = attack(clean, [0, 0, 0])
  assert whole.success.numpy().tolist() == [True, False, True]
  assert attack(clean, [0, 0, 0], targets=[1, 1, 2]).success.numpy().tolist() == [True, False, False]


def test_transfer_without_images_is_refused():
  with pytest.raises(InputError, match="`source`"):
    AttackFactory(_linear, "off").make(TransferConfig())


def test_noise_is_random_points_of_the_ball():
  config = presets.noise(0.2, 50, Norm.L2)
  assert (config.steps, config.restarts, config.random_start) == (0, 50, True)
  # The boundary is 0.05 / sqrt(2) away: many a point of the ball lies beyond it.
  attack = GradientAttack(_linear, config, jit="off")
  assert attack_survivors(attack, _pixels((0.55, 0.5)), [0]).success.tolist() == [True]
  assert attack_survivors(attack, _pixels((0.95, 0.5)), [0]).success.tolist() == [False]


@pytest.mark.parametrize(
  "count, total, expected",
  [
    # 1 - 0.025^(1/n) of none; the others from tables of Clopper and Pearson's interval.
    (0, 10, (0.0, 0.3085)),
    (10, 10, (0.6915, 1.0)),
    (5, 10, (0.1871, 0.8129)),
    (50, 100, (0.3983, 0.6017)),
  ],
)
def test_intervals_are_those_of_the_tables(count, total, expected):
  np.testing.assert_allclose(statistics.interval(count, total), expected, atol=1e-4)


def test_spread_by_hand():
  assert statistics.spread([0.5]) == (0.5, None)
  mean, deviation = statistics.spread([0.4, 0.5, 0.6])
  assert (mean, deviation) == (pytest.approx(0.5), pytest.approx(0.1))
