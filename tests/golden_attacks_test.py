"""Golden: PGD, C&W-margin PGD, averaged momentum and FGSM against the authors' code."""

import golden_support as golden
import numpy as np
import pytest
import tensorflow as tf

from tla_tf import networks
from tla_tf.attacks import gradient_loop, presets
from tla_tf.attacks.gradient_loop import input_gradient
from tla_tf.balls import LinfBall
from tla_tf.config import AttackConfig
from tla_tf.ops import objectives
from tla_tf.types import MomentumRule

# Share of pixels that must agree within 1e-5, by network.
PIXELS = {"mlp": 0.999, "lenet": 0.99}
EPSILON, STEP_SIZE = 0.3, 0.01


def _attack(network, config, start, label_smoothing=0.0, training=False):
  data = golden.inputs()
  measure = objectives.get(config.objective)

  @tf.function
  def run():
    return gradient_loop(
      networks.logits_function(network, training),
      lambda z, y: measure(z, y, label_smoothing),
      LinfBall(),
      tf.constant(data["A"]),
      tf.constant(data["y_A"]),
      tf.constant(start),
      epsilon=config.epsilon,
      step_size=config.step_size,
      steps=config.steps,
      momentum=config.momentum,
      momentum_rule=config.momentum_rule,
      record=False,
    ).adversarial

  return run().numpy()


def _noisy_start():
  data = golden.inputs()
  return (data["A"] + data["start_noise"]).astype(np.float32)


def _assert_pixels(actual, expected, share, what):
  agree = np.abs(actual[..., 0] - expected) <= 1e-5
  golden.SEEN[what] = max(golden.SEEN.get(what, 0.0), 1 - agree.mean())
  assert agree.mean() >= share


def _assert_in_ball(images):
  data = golden.inputs()
  assert np.abs(images - data["A"]).max() <= EPSILON + 1e-6
  assert images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("objective", ["xent_gpu", "cw"])
def test_input_gradient(name, objective):
  network, _ = golden.golden_network(name)
  reference = golden.arrays(f"{golden.MODELS[name]}_pgd")[f"grad_at_start/{objective}"]
  smoothing = golden.numbers(f"{golden.MODELS[name]}_pgd")["label_smoothing_gpu_attack"]
  data = golden.inputs()
  measure = objectives.margin if objective == "cw" else objectives.cross_entropy
  start = tf.clip_by_value(tf.constant(_noisy_start()), 0, 1)
  gradient, _, _ = input_gradient(
    networks.logits_function(network), lambda z, y: measure(z, y, smoothing), start, tf.constant(data["y_A"])
  )
  # The authors differentiate the mean or the negated loss: compare directions.
  ours, theirs = gradient.numpy()[..., 0], reference
  scale = np.sign((ours * theirs).sum()) * np.linalg.norm(theirs) / np.linalg.norm(ours)
  golden.assert_close(ours * scale, theirs, 1e-4, f"{name} input gradients")


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_training_attack(name, steps):
  network, _ = golden.golden_network(name)
  reference = golden.arrays(f"{golden.MODELS[name]}_pgd")
  info = golden.numbers(f"{golden.MODELS[name]}_pgd")
  smoothing = info["label_smoothing_gpu_attack"]
  ours = _attack(network, AttackConfig(EPSILON, STEP_SIZE, steps), _noisy_start(), smoothing)
  _assert_in_ball(ours)
  if name == "mlp" or steps < 40:
    _assert_pixels(ours, reference[f"gpu/steps{steps}"], PIXELS[name], f"{name} PGD: share of other pixels")
  if name == "mlp":
    golden.assert_close(
      network(ours)["embedding"], reference[f"gpu_x4/steps{steps}"], 1e-4, "mlp embedding of PGD images"
    )
  data = golden.inputs()
  after = tf.reduce_mean(objectives.cross_entropy(network(ours)["logits"], data["y_A"], smoothing))
  golden.assert_close(
    after, info["results_gpu"][f"steps{steps}"]["xent_before_start_after"][2], 0.02, f"{name} loss after PGD"
  )


CASES = [
  ("xent", 0.0, 1),
  ("xent", 0.0, 3),
  ("xent", 0.0, 10),
  ("xent", 0.9, 3),
  ("xent", 0.9, 10),
  ("cw", 0.0, 1),
  ("cw", 0.0, 3),
  ("cw", 0.0, 10),
  ("cw", 0.9, 3),
  ("cw", 0.9, 10),
]


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("loss,momentum,steps", CASES)
def test_evaluation_attack(name, loss, momentum, steps):
  network, _ = golden.golden_network(name)
  key = f"linf_{loss}_m{momentum:g}/steps{steps}"
  reference = golden.arrays(f"{golden.MODELS[name]}_pgd")[key]
  info = golden.numbers(f"{golden.MODELS[name]}_pgd")
  config = AttackConfig(
    EPSILON,
    STEP_SIZE,
    steps,
    objective={"xent": "cross_entropy", "cw": "margin"}[loss],
    momentum=momentum,
    momentum_rule=MomentumRule.AVERAGED,
  )
  ours = _attack(network, config, _noisy_start(), info["label_smoothing_linf_attack"])
  _assert_in_ball(ours)
  if name == "mlp" or steps <= 3:
    _assert_pixels(ours, reference, PIXELS[name], f"{name} evaluation PGD: share of other pixels")
  data = golden.inputs()
  after = tf.reduce_mean(objectives.cross_entropy(network(ours)["logits"], data["y_A"]))
  golden.assert_close(after, info["results"][key]["xent_before_after"][1], 0.02, f"{name} loss after evaluation PGD")


@pytest.mark.parametrize("name", golden.MODELS)
def test_bim_and_fgsm(name):
  network, _ = golden.golden_network(name)
  reference = golden.arrays(f"{golden.MODELS[name]}_pgd")
  data = golden.inputs()
  bim = _attack(network, presets.bim(EPSILON, STEP_SIZE, 10), data["A"])
  share = PIXELS[name] if name == "mlp" else 0.95
  _assert_pixels(bim, reference["linf_xent_nostart/steps10"], share, f"{name} BIM: share of other pixels")
  # The authors' FGSM takes its one step of length epsilon from the random start.
  fgsm = _attack(network, presets.fgsm(EPSILON), _noisy_start())
  _assert_pixels(fgsm, reference["fgsm"], PIXELS[name], f"{name} FGSM: share of other pixels")


@pytest.mark.parametrize("name", golden.MODELS)
@pytest.mark.parametrize("steps", [1, 3])
def test_attack_in_training_mode_moves_no_average(name, steps):
  network, variables = golden.golden_network(name)
  before = {key: np.array(v) for key, v in variables.items()}
  reference = golden.arrays(f"{golden.MODELS[name]}_pgd")[f"linf_xent_trainmode/steps{steps}"]
  smoothing = golden.numbers(f"{golden.MODELS[name]}_pgd")["label_smoothing_gpu_attack"]
  ours = _attack(network, AttackConfig(EPSILON, STEP_SIZE, steps), _noisy_start(), smoothing, training=True)
  _assert_pixels(ours, reference, PIXELS[name], f"{name} PGD in training mode: share of other pixels")
  for key, value in before.items():
    np.testing.assert_array_equal(value, variables[key])
