"""Training methods, one family a file, found by name; `recipe.Recipe` says what a method is made of.

Nothing here imports TensorFlow before a part of a step is made.
"""

from __future__ import annotations

from tla_tf.recipes.inner_attack import InnerAttack
from tla_tf.recipes.negatives import NegativeSource
from tla_tf.recipes.recipe import CLEAN_FIRST, ROBUST_FIRST, Recipe
from tla_tf.recipes.terms import Term
from tla_tf.recipes.update_rules import UpdateRule
from tla_tf.registry import METHODS

__all__ = [
  "CLEAN_FIRST",
  "ROBUST_FIRST",
  "InnerAttack",
  "NegativeSource",
  "Recipe",
  "Term",
  "UpdateRule",
  "get",
  "names",
  "register",
]


def get(name: str) -> Recipe:
  """The recipe of a method.

  Raises:
    InputError: for an unknown name; the message lists the known ones.
  """
  return METHODS.get(name)


def names() -> list[str]:
  """The names of all methods."""
  return METHODS.names()


def register(recipe: Recipe) -> Recipe:
  """Makes a method known under its name; returns it."""
  return METHODS.register(recipe.name, recipe)
