"""Attacks whose whole search is compiled: which settings are part of the trace."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tla_tf import attack_configs as configs
from tla_tf.attacks import Apgd, CarliniWagner, DeepFool, Fab, Jsma, Square

# By attack: its settings, and others of the same trace.
CASES = {
  Apgd: (configs.ApgdConfig(0.1, 3), {"epsilon": 0.2, "steps": 4, "restarts": 2}),
  CarliniWagner: (
    configs.CarliniWagnerConfig(steps=3, binary_search_steps=2),
    {
      "epsilon": 1.0,
      "steps": 4,
      "step_size": 0.1,
      "binary_search_steps": 1,
      "initial_constant": 1.0,
      "confidence": 0.5,
    },
  ),
  DeepFool: (configs.DeepFoolConfig(steps=3), {"epsilon": 1.0, "steps": 4, "overshoot": 0.1}),
  Fab: (
    configs.FabConfig(0.1, 3),
    {"epsilon": 0.2, "steps": 4, "alpha_max": 0.2, "eta": 1.1, "beta": 0.8, "restarts": 2},
  ),
  Jsma: (configs.JsmaConfig(0.5), {"theta": 0.5, "restarts": 2}),
  Square: (configs.SquareConfig(0.1, 5), {"epsilon": 0.2, "steps": 6, "initial_share": 0.5, "restarts": 2}),
}
KERNEL = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((4, 2, 2, 3), np.float32)


def network(images):
  return tf.reshape(images - 0.5, [-1, 12]) @ KERNEL


LABELS = np.argmax(network(IMAGES), -1)


@pytest.mark.parametrize("attack", CASES)
def test_numbers_change_without_another_trace(attack):
  """And the trace with the new numbers is that of an attack made with them."""
  config, changes = CASES[attack]
  made = attack(network, config, "off")
  made(IMAGES, LABELS)
  made.config = config.replace(**changes)
  found = made(IMAGES, LABELS)
  assert made.trace_count == 1
  for value, expected in zip(found, attack(network, made.config, "off")(IMAGES, LABELS)):
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("attack", CASES)
def test_every_number_of_a_config_is_in_the_list(attack):
  """Of its settings only these are known when the search is traced."""
  config, changes = CASES[attack]
  traced = {DeepFool: {"candidates"}, Jsma: {"epsilon"}}.get(attack, set())
  numbers = {field.name for field in dataclasses.fields(config) if type(getattr(config, field.name)) in (int, float)}
  assert numbers == set(changes) | traced | {"restarts"}
  assert numbers - {"restarts", "candidates"} == {*attack.real_numbers, *attack.whole_numbers}


@pytest.mark.parametrize("attack", CASES)
def test_annotations_that_are_text_change_nothing(attack, monkeypatch):
  """As `from __future__ import annotations` in the configs' module makes them."""
  config, _ = CASES[attack]
  expected = attack(network, config, "off")(IMAGES, LABELS)
  for field in dataclasses.fields(config):
    monkeypatch.setattr(field, "type", str(field.type))
  for value, other in zip(attack(network, config, "off")(IMAGES, LABELS), expected):
    np.testing.assert_array_equal(value, other)
