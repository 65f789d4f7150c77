"""UM: training on clean images only."""

from __future__ import annotations

from tla_tf.config import RecipeConfig
from tla_tf.recipes.recipe import CLEAN_FIRST, Recipe
from tla_tf.recipes.terms import CrossEntropy, Term
from tla_tf.registry import METHODS
from tla_tf.types import Role


class Undefended(Recipe[RecipeConfig]):
  """Cross-entropy of clean images; the attack serves validation alone."""

  name = "um"
  help = "undefended"
  published = {"*": RecipeConfig()}
  # Of an undefended model the robust accuracy is noise near 0.
  best_by = CLEAN_FIRST
  accuracy_role = Role.TWIN
  rank = 0

  def roles(self, config: RecipeConfig) -> tuple:
    return (Role.TWIN,)

  def terms(self, config: RecipeConfig) -> list[Term]:
    return [CrossEntropy(Role.TWIN)]


METHODS.register("um", Undefended())
