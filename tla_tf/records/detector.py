"""What `detector.npz` says of its detector besides the numbers."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import AttackConfig
from tla_tf.records.record import Record, unchanged
from tla_tf.types import Covariance


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorFacts:
  """How a detector was fitted; None where whoever fitted it does not say.

  Attributes:
    checkpoint: step of the network that it was fitted to.
    checkpoint_digest: SHA-256 of that network's weights.
    false_positive_rate: share of clean images that its threshold may flag.
    attack: that the images were attacked with.
    fit_examples: how many images, each clean and attacked.
    seed: of the draw of the images.
  """

  checkpoint: int | None = None
  checkpoint_digest: str | None = None
  false_positive_rate: float | None = None
  attack: AttackConfig | None = None
  fit_examples: int | None = None
  seed: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectorAbout(Record):
  """The JSON part of `detector.npz`.

  Attributes:
    covariance: of its Gaussians.
    threshold: log density below which an image is suspicious.
    unit_length: whether embeddings are scaled to length 1 before.
    facts: DetectorFacts.
    arrays_digest: SHA-256 of the numbers; None in format 1, which did not say.
  """

  FORMAT, FILE, REMEDY = 2, "detector.npz", "fit the detector again with tla-analyze"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  covariance: Covariance
  threshold: float
  unit_length: bool
  facts: DetectorFacts
  arrays_digest: str | None = None
