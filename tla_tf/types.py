"""Named choices and named roles, shared by every package. No TensorFlow here."""

import enum


class _Choice(str, enum.Enum):
  """A string enum whose members print as their values."""

  def __str__(self):
    return self.value


class Norm(_Choice):
  """In which norm an attack is bounded.

  `L0` counts changed pixel values, as a fraction of all of an image.
  """

  LINF = "linf"
  L2 = "l2"
  L0 = "l0"


class Target(_Choice):
  """The class that a targeted attack aims at; `NONE` is an untargeted attack.

  `RANDOM` is another class than the true one, drawn per example;
  `SECOND_LIKELY` and `LEAST_LIKELY` are those by the clean logits, the true
  class left out.
  """

  NONE = "none"
  RANDOM = "random"
  SECOND_LIKELY = "second_likely"
  LEAST_LIKELY = "least_likely"


class DistributionStrategy(_Choice):
  """Over which devices a training is spread; the last two are refused, with the reason."""

  ONE_DEVICE = "one_device"
  MIRRORED = "mirrored"
  MULTI_WORKER_MIRRORED = "multi_worker_mirrored"
  PARAMETER_SERVER = "parameter_server"
  TPU = "tpu"


class Objective(_Choice):
  """What a gradient attack increases."""

  CROSS_ENTROPY = "cross_entropy"
  MARGIN = "margin"


class ApgdLoss(_Choice):
  """What Auto-PGD increases (Croce and Hein 2020, Section 4).

  `DLR` is the difference of logits ratio, for three classes and more;
  `TARGETED_DLR` is the same towards one class after another, for four and more:
  with fewer their denominators make them constant. `MARGIN` is the difference
  alone, for any number of classes.
  """

  CROSS_ENTROPY = "cross_entropy"
  DLR = "dlr"
  TARGETED_DLR = "targeted_dlr"
  MARGIN = "margin"


class MomentumRule(_Choice):
  """How an attack accumulates gradients.

  `NORMALIZED` is Dong et al. 2018 (each gradient divided by its mean absolute
  value); `AVERAGED` is the authors' code (g <- m g + (1 - m) g_t).
  """

  NORMALIZED = "normalized"
  AVERAGED = "averaged"


class InnerAttackKind(_Choice):
  """How training makes its attacked images.

  `PGD` takes the steps of the training attack. The others are cheaper: `SHORT_PGD`
  a few long steps, `FGSM_RS` one from a random start in the ball (Wong et al. 2020),
  `N_FGSM` one from noise beyond the ball (de Jorge et al. 2022), `FREE` the gradient
  of the weights' own step (Shafahi et al. 2019).
  """

  PGD = "pgd"
  SHORT_PGD = "short_pgd"
  FGSM_RS = "fgsm_rs"
  N_FGSM = "n_fgsm"
  FREE = "free"


class PassMode(_Choice):
  """Which batch statistics the attack inside a training step sees."""

  INFERENCE = "inference"
  TRAINING = "training"


class Distance(_Choice):
  """Distance between embeddings."""

  ANGULAR = "angular"
  SQUARED_EUCLIDEAN = "squared_euclidean"
  SYMMETRISED_KL = "symmetrised_kl"


class FeatureNorm(_Choice):
  """Feature-norm decay: the code's mean of squares or the paper's L2 norms."""

  MEAN_SQUARE = "mean_square"
  L2 = "l2"


class Positives(_Choice):
  """Which positives the triplet terms use."""

  CLASSMATE = "classmate"
  TWIN = "twin"
  BOTH = "both"


class Negatives(_Choice):
  """How the negative is picked from the pool."""

  NEAREST = "nearest"
  RANDOM = "random"
  AUTHORS_RANDOM = "authors_random"


class NegativePool(_Choice):
  """Where negatives come from.

  `FRESH` is a batch of images of its own (paper), `BATCH` the step's own clean
  images, `MEMORY_BANK` embeddings of earlier steps (Wang et al. 2020).
  """

  FRESH = "fresh"
  BATCH = "batch"
  MEMORY_BANK = "memory_bank"


class PairingTarget(_Choice):
  """What adversarial and clean images are paired on."""

  LOGITS = "logits"
  EMBEDDING = "embedding"


class DataSource(_Choice):
  """Where images come from."""

  AUTO = "auto"
  FILES = "files"
  TFDS = "tfds"


class Split(_Choice):
  """Which images a network is judged on: those of the final figures, or those that chose its checkpoint."""

  TEST = "test"
  HELD_OUT = "held_out"

  @property
  def images(self) -> str:
    """What its images are called in tables and sentences."""
    return "held-out images" if self is Split.HELD_OUT else "test images"


class Channels(_Choice):
  """Which channels a model of another's takes, and in which order."""

  RGB = "rgb"
  BGR = "bgr"
  GREY = "grey"


class Resize(_Choice):
  """What is done with an image of another size than the one asked for."""

  REFUSE = "refuse"
  STRETCH = "stretch"
  CROP = "crop"


class Schedule(_Choice):
  """How the learning rate changes after its warm-up."""

  PIECEWISE = "piecewise"
  COSINE = "cosine"


class Jit(_Choice):
  """Whether XLA compiles the training step and the attacks."""

  AUTO = "auto"
  ON = "on"
  OFF = "off"


class Precision(_Choice):
  """In which type the layers of a network compute; what they own is float32 always."""

  FLOAT32 = "float32"
  BFLOAT16 = "bfloat16"


class PrecisionChoice(_Choice):
  """A `Precision`, or the one that a measurement at the start of a training finds the faster."""

  FLOAT32 = "float32"
  BFLOAT16 = "bfloat16"
  AUTO = "auto"


class MixedPrecision(_Choice):
  """In which type the training pass computes, whatever the attack does; `OFF` is float32."""

  OFF = "off"
  BFLOAT16 = "bfloat16"

  @property
  def precision(self) -> Precision:
    """The type as the layers' `Precision`."""
    return Precision.FLOAT32 if self is MixedPrecision.OFF else Precision(self.value)


class Metric(_Choice):
  """By which distance embeddings are near each other, as scikit-learn names it."""

  COSINE = "cosine"
  EUCLIDEAN = "euclidean"


class Covariance(_Choice):
  """Of one Gaussian per class: a matrix each, one for all, or a variance per dimension each."""

  FULL = "full"
  TIED = "tied"
  DIAGONAL = "diagonal"


class Role:
  """Names of the images of a triplet; the authors' names in brackets."""

  TWIN = "twin"  # the anchor's own clean image [A]
  ADVERSARIAL = "adversarial"  # the attacked anchor [A']
  NEGATIVE = "negative"  # an image of another class [B]
  POSITIVE = "positive"  # another image of the anchor's class [A1]


# Values that are refused for a reason: (choice, value) -> why.
_FLOAT16 = (
  "float16 has too small a range for gradients of attacks, and no loss scaling is built; bfloat16 has that of float32"
)
REFUSED: dict[tuple[type[enum.Enum], str], str] = {
  (Precision, "float16"): _FLOAT16,
  (PrecisionChoice, "float16"): _FLOAT16,
  (MixedPrecision, "float16"): _FLOAT16,
}


def values(choice: type[enum.Enum]) -> list[str]:
  """The values of a choice, in order, as a list of strings."""
  return [member.value for member in choice]
