"""Runs a suite of attacks over test images and counts what stands."""

import time

import numpy as np
import tensorflow as tf

from tla_tf import networks
from tla_tf.attacks import GradientAttack, GradientSearch, attack_survivors
from tla_tf.evaluation.verifier import verify
from tla_tf.networks import resolve_jit

_BATCH = 100


def evaluate(network, data, attacks, *, seed=0, jit="auto", batch_size=_BATCH, progress=None):
  """Clean and robust accuracy under every attack of a suite.

  Only images that the network classifies correctly are attacked, restarts only
  those still standing. An image counts as broken only if the verifier accepts
  the adversarial image and the network, called on it anew, errs.

  Args:
    network: maps images to {"embedding", "logits"}.
    data: `ImageData` to judge on.
    attacks: sequence of `suites.NamedAttack`.
    seed: of random starts.
    jit: see `attacks.GradientSearch`.
    batch_size: images a batch.
    progress: called with (attack name, batches done, batches to do), or None.

  Returns:
    (results, adversarial): a dict with "clean", "attacks" and "worst_case" as
    in `evaluation.json`, and a dict from attack name to float32 images [n,
    ...], clean where the attack did not succeed.
  """
  images, labels = data.float_images(), data.labels
  predict = _predictor(network, data.image_shape, batch_size, resolve_jit(jit, network))
  standing = np.flatnonzero(predict(images) == labels)
  worst = np.zeros(len(data), bool)
  worst[standing] = True
  searches, rows, found = {}, [], {}
  for name, config in attacks:
    began = time.monotonic()
    shared = (config.objective, config.momentum_rule, config.norm)
    if shared not in searches:
      searches[shared] = GradientSearch(network, config.objective, config.momentum_rule, jit, config.norm)
    result = attack_survivors(
      GradientAttack(searches[shared], config), images[standing], labels[standing], example_ids=standing, seed=seed,
      batch_size=batch_size,
      progress=progress and (lambda done, total, name=name: progress(name, done, total)))
    valid = verify(images[standing], result.adversarial, config.epsilon, config.norm.value)
    broken = valid & (predict(result.adversarial) != labels[standing])
    worst[standing[broken]] = False
    found[name] = images.copy()
    found[name][standing[broken]] = result.adversarial[broken]
    rows.append({
      "name": name, "norm": config.norm.value, "epsilon": config.epsilon, "steps": config.steps,
      "step_size": config.step_size,
      "restarts": config.restarts, "objective": config.objective.value, "momentum": config.momentum,
      "random_start": config.random_start, "accuracy": float((len(standing) - broken.sum()) / len(data)),
      "seconds": round(time.monotonic() - began, 3),
      "diagnostics": {
        "zero_gradient_images": int((result.zero_gradients > 0).sum()),
        "nonfinite_gradient_images": int((result.nonfinite_gradients > 0).sum()),
        "rejected_by_verifier": int((~valid).sum()),
      },
    })
  results = {
    "clean": {"accuracy": len(standing) / len(data), "num_examples": len(data)},
    "attacks": rows,
    "worst_case": {"accuracy": float(worst.mean())},
  }
  return results, found


def _predictor(network, image_shape, batch_size, jit):
  """A function from float32 images [n, ...] to predicted classes int [n]."""
  forward = networks.logits_function(network)
  classify = tf.function(
    lambda images: tf.argmax(forward(images), -1), jit_compile=jit, autograph=False,
    input_signature=[tf.TensorSpec([None, *image_shape], tf.float32)])

  def predict(images):
    parts = [np.zeros(0, np.int64)]
    for begin in range(0, len(images), batch_size):
      part = images[begin:begin + batch_size]
      # One batch size, one compiled program.
      padded = np.resize(part, (batch_size, *part.shape[1:]))
      parts.append(classify(padded).numpy()[:len(part)])
    return np.concatenate(parts)

  return predict
