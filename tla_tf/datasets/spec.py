"""The record of a data set: all that other rooms need to know of it. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.config import TrainingConfig, require, require_number, require_whole


@dataclasses.dataclass(frozen=True)
class SuiteScale:
  """What the suites of attacks take from a data set; pixels in [0, 1].

  Attributes:
    epsilon: radius in L-infinity.
    step_size: of BIM and the shorter PGD.
    bim_steps: of BIM.
    margin_steps: of PGD on C&W's margin.
    pgd_steps: of the shorter PGD.
    long_pgd_steps: of the longer PGD, and of 20 x PGD.
    mim_steps: of MIM.
    long_step_size: of the margin, of the longer PGD and of MIM.
    black_box_steps: of the transferred PGD.
    l2_epsilon: radius in L2.
    l2_step_size: of PGD in L2.
    l2_steps: of PGD in L2.
    l0_epsilon: share of an image's pixel values that JSMA may change.
  """

  epsilon: float
  step_size: float
  bim_steps: int
  margin_steps: int
  pgd_steps: int
  long_pgd_steps: int
  mim_steps: int
  long_step_size: float
  black_box_steps: int
  l2_epsilon: float
  l2_step_size: float
  l2_steps: int
  l0_epsilon: float

  def __post_init__(self) -> None:
    require_number(self, "epsilon", "step_size", "long_step_size", "l0_epsilon", above=0.0, high=1.0)
    require_number(self, "l2_epsilon", "l2_step_size", above=0.0)
    steps = [field.name for field in dataclasses.fields(self) if field.name.endswith("steps")]
    require_whole(self, *steps, low=1)


@dataclasses.dataclass(frozen=True)
class AnalysisScale:
  """The two attacks of an analysis: PGD with steps of 2.5 epsilon / steps.

  Attributes:
    weak_epsilon: radius that detectors are fitted at.
    weak_steps: number of its steps.
    strong_epsilon: radius that they are tested at.
    strong_steps: number of its steps.
    usual: "weak" or "strong", which of them is at the epsilon of training: that
      of Table 6 and of Figures 1, 2 and 4.
  """

  weak_epsilon: float
  weak_steps: int
  strong_epsilon: float
  strong_steps: int
  usual: str

  def __post_init__(self) -> None:
    require_number(self, "weak_epsilon", "strong_epsilon", above=0.0, high=1.0)
    require_whole(self, "weak_steps", "strong_steps", low=1)
    require(self.weak_epsilon < self.strong_epsilon, "weak_epsilon", "less than strong_epsilon", self.weak_epsilon)
    require(self.usual in ("weak", "strong"), "usual", "'weak' or 'strong'", self.usual)


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
  """A data set.

  Attributes:
    name: as flags, configs and result files call it.
    title: as people call it.
    read: function (data_dir, data_source, reading, cache_dir, progress) ->
      `data.Splits`, with the arguments of `datasets.load`.
    training: settings that all methods share; `methods` and the recipes add
      their own.
    published: whether `training` is somebody's published setting; else it is a
      default of ours.
    methods: dict from method to its `RecipeConfig` on this data set, where it
      differs from what the recipe says.
    fine_tuning: (first learning rate, drops) of a run that begins with a
      trained network; None leaves those of `training`.
    suite_scale: of `tla-evaluate`.
    analysis_scale: of `tla-analyze`.
    image_shape: (height, width, channels); None where it depends on the files.
    class_names: empty where they depend on the files.
    num_classes: how many there are where the names depend on the files; 0 where
      that does, too.
    tf1_networks: families of networks that a TF1 checkpoint is taken to be
      trained on this data set with.
    reading_flags: which of the reading flags of `binaries.training_flags` make
      sense.
    data_dir_help: help of the flag --data_dir.
    heldout_help: what the help of --heldout_examples says of the default.
    rank: place in lists.
  """

  name: str
  title: str
  read: typing.Callable
  training: TrainingConfig
  suite_scale: SuiteScale
  analysis_scale: AnalysisScale
  published: bool = False
  methods: dict = dataclasses.field(default_factory=dict)
  fine_tuning: tuple | None = None
  image_shape: tuple | None = None
  class_names: tuple = ()
  num_classes: int = 0
  tf1_networks: tuple = ()
  reading_flags: tuple = ("data_dir", "data_source")
  data_dir_help: str = "Folder of the data set's files, or TFDS's data folder."
  heldout_help: str = "Default: 1,000, at most a tenth."
  rank: int = 100
