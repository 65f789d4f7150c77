"""The flags that the training tools share, and the config that they make."""

import dataclasses
import sys

from absl import flags

from tla_tf import published, types
from tla_tf.binaries import entry
from tla_tf.binaries.entry import define_choice, define_fraction
from tla_tf.config import OPTIMIZERS, TrainingConfig
from tla_tf.errors import InputError

FLAGS = flags.FLAGS

# Flag -> field of the config; a dot leads into a nested one.
_FIELDS = {
  "network": "network", "epsilon": "attack.epsilon", "attack_steps": "attack.steps",
  "attack_step_size": "attack.step_size", "attack_mode": "attack_mode", "triplet_weight": "triplet.weight",
  "margin": "triplet.margin", "distance": "triplet.distance", "feature_norm": "triplet.feature_norm",
  "feature_norm_weight": "triplet.feature_norm_weight", "positives": "triplet.positives",
  "twin_margin": "triplet.twin_margin", "twin_noise": "triplet.twin_noise", "negatives": "triplet.negatives",
  "negative_pool_size": "negative_pool_size", "pairing": "pairing", "pairing_weight": "pairing_weight",
  "clean_weight": "clean_weight", "batch_size": "batch_size", "train_steps": "train_steps", "optimizer": "optimizer",
  "learning_rate": "learning_rate", "weight_decay": "weight_decay", "label_smoothing": "label_smoothing",
  "seed": "seed", "deterministic": "deterministic", "jit": "jit", "checkpoint_every": "checkpoint_every",
  "keep_checkpoints": "keep_checkpoints", "validation_examples": "validation_examples",
  "validation_attack_steps": "validation_attack.steps", "data_source": "data_source",
}  # fmt: skip


_ONLY_TRIPLET = ("triplet_weight", "margin", "distance", "feature_norm", "feature_norm_weight", "positives",
                 "twin_margin", "twin_noise", "negatives", "negative_pool_size")  # fmt: skip


def define(dataset):
  """Defines the training flags of a data set; unset ones keep its published value."""
  base = published.setting(dataset)
  triplet = base.triplet

  def is_(value):
    return f" Published setting of {dataset}: {value}."

  flags.DEFINE_string("output_dir", None, "Run folder: new, empty, or of the same run to go on with.")
  if dataset != "digits":
    flags.DEFINE_string("data_dir", None, "Folder of the data set's files, or TFDS's data folder.")
    define_choice("data_source", None, types.DataSource, "auto: files or prepared TFDS data, whichever data_dir "
                  "holds; tfds: through TFDS, downloading what is missing.")
  define_choice("method", "tla", types.Method, "um: undefended; at: adversarial training; alp: adversarial logit "
                "pairing; tla: triplet loss adversarial training; tla_rn: with random negatives; tla_sa: anchor and "
                "positive switched.")
  flags.DEFINE_string("network", None, "mlp or lenet, optionally with a width: mlp_256, lenet_8." + is_(base.network))
  define_fraction("epsilon", None, "Radius of the L-infinity ball, pixels in [0, 1]; 8/255 works."
                  + is_(base.attack.epsilon))
  flags.DEFINE_integer("attack_steps", None, "PGD steps of the training attack." + is_(base.attack.steps))
  define_fraction("attack_step_size", None, "Step size of the training attack." + is_(base.attack.step_size))
  define_choice("attack_mode", None, types.PassMode, "Batch statistics that the training attack sees: inference, or "
                "training as the authors' AT script (statistics then do not move). Published: inference, but training "
                "for AT on MNIST.")
  flags.DEFINE_integer("validation_attack_steps", None, "PGD steps of the attack on held-out images."
                       + is_(base.validation_attack.steps))
  flags.DEFINE_integer("validation_examples", None, "Held-out images that are attacked at every checkpoint."
                       + is_(base.validation_examples))
  flags.DEFINE_float("triplet_weight", None, "lambda_1." + is_(triplet.weight))
  flags.DEFINE_float("margin", None, "alpha of the class-mate term." + is_(triplet.margin))
  define_choice("distance", None, types.Distance, "Distance between embeddings." + is_(triplet.distance))
  define_choice("feature_norm", None, types.FeatureNorm, "mean_square: authors' code, multiplied by triplet_weight "
                "too; l2: the paper's Equation 1, its weight stands alone." + is_(triplet.feature_norm))
  flags.DEFINE_float("feature_norm_weight", None, "Weight of the feature norm." + is_(triplet.feature_norm_weight))
  define_choice("positives", None, types.Positives, "classmate: another image of the class; twin: the anchor's clean "
                "image; both: one triplet term each." + is_(triplet.positives))
  flags.DEFINE_float("twin_margin", None, "alpha of the twin term." + is_(triplet.twin_margin))
  define_fraction("twin_noise", None, "Half-width of the noise on the twin; the authors' code has 8/255 on colour "
                  "images, rounded to 8 bits." + is_(triplet.twin_noise))
  define_choice("negatives", None, types.Negatives, "nearest: of another class, in the pool; random: of another class "
                "(what the paper says of TLA-RN); authors_random: of any class (what the code does for it).")
  flags.DEFINE_integer("negative_pool_size", None, "Images to pick negatives from." + is_(base.negative_pool_size))
  define_choice("pairing", None, types.PairingTarget, "What pairs each attacked image with its clean one: logits "
                "(paper's ALP) or embedding (code's match_l2). Published: logits for ALP, embedding for the TLA "
                "methods.")
  flags.DEFINE_float("pairing_weight", None, "Weight of the pairing. Published: 0.5 for ALP, else 0.")
  flags.DEFINE_float("clean_weight", None, "Weight of the clean images' mean cross-entropy; the authors train on "
                     "adversarial images only." + is_(base.clean_weight))
  flags.DEFINE_integer("batch_size", None, "Anchors a step." + is_(base.batch_size))
  flags.DEFINE_integer("train_steps", None, "Steps in all; may grow when a run goes on." + is_(base.train_steps))
  flags.DEFINE_enum("optimizer", None, OPTIMIZERS, "adam, or momentum SGD (0.9)." + is_(base.optimizer))
  flags.DEFINE_float("learning_rate", None, "Learning rate of the first step." + is_(base.learning_rate))
  flags.DEFINE_list("learning_rate_drops", None, "step:rate pairs, e.g. 50000:0.01,60000:0.001; a rate holds from the "
                    "step after its boundary.")
  flags.DEFINE_float("weight_decay", None, "Of kernels: half the squared L2 norm." + is_(base.weight_decay))
  flags.DEFINE_float("label_smoothing", None, "Published: 0.1 for LeNet under the TLA methods and ALP, else 0.")
  flags.DEFINE_integer("seed", None, "Seed of weights, batches and attacks." + is_(base.seed))
  flags.DEFINE_bool("deterministic", None, "Same bits in every run on one machine." + is_(base.deterministic))
  define_choice("jit", None, types.Jit, "XLA for the training step; auto: where it pays." + is_(base.jit))
  flags.DEFINE_integer("checkpoint_every", None, "Steps between checkpoints, logs and held-out accuracy."
                       + is_(base.checkpoint_every))
  flags.DEFINE_integer("keep_checkpoints", None, "Last checkpoints to keep, besides the best."
                       + is_(base.keep_checkpoints))
  flags.mark_flag_as_required("output_dir")


def config(dataset):
  """The TrainingConfig of the parsed flags.

  Raises:
    InputError: for a value out of its range.
  """
  if FLAGS.method == "tla_rn" and FLAGS.negatives == "nearest":
    raise InputError("--method=tla_rn has random negatives: give --negatives=random or authors_random, "
                     "or --method=tla.")
  base = published.setting(dataset, FLAGS.method, FLAGS.network)
  changes, nested = {}, {}
  for flag, field in _FIELDS.items():
    value = getattr(FLAGS, flag, None)
    if value is None:
      continue
    outer, _, inner = field.partition(".")
    if inner:
      nested.setdefault(outer, {})[inner] = value
    else:
      changes[field] = value
  if FLAGS.epsilon is not None:
    nested.setdefault("validation_attack", {})["epsilon"] = FLAGS.epsilon
  for outer, values in nested.items():
    changes[outer] = _replace(getattr(base, outer), values)
  if FLAGS.learning_rate_drops is not None:
    changes["learning_rate_drops"] = _drops(FLAGS.learning_rate_drops)
  return _replace(base, changes)


def _note_unused_flags():
  """Says which given flags the method has no use for; flag files serve every method."""
  triplet = FLAGS.method.startswith("tla")
  unused = [] if triplet else list(_ONLY_TRIPLET)
  if FLAGS.method in ("um", "at"):
    unused += ["pairing", "pairing_weight"]
  if FLAGS.method == "um":
    unused += ["clean_weight", "attack_mode"]
  if triplet and FLAGS.positives in (None, "classmate"):
    unused.append("twin_margin")
  if triplet and FLAGS.positives == "twin":
    unused.append("margin")
  given = [f"--{flag}" for flag in unused if getattr(FLAGS, flag) is not None]
  if given:
    print(f"note: {', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect on --method={FLAGS.method}",
          file=sys.stderr)


def _replace(config_, changes):
  """`replace` whose error names the flag, not the field."""
  try:
    return dataclasses.replace(config_, **changes)
  except InputError as error:
    message = str(error)
    for flag, field in _FIELDS.items():
      name = field.rpartition(".")[2]
      if changes.get(name) is not None and f"`{name}`" in message and changes[name] is getattr(FLAGS, flag, None):
        message = message.replace(f"`{name}`", f"--{flag}")
        break
    raise InputError(message) from None


def _drops(texts):
  pairs = []
  for text in texts:
    step, colon, rate = text.partition(":")
    try:
      if not colon:
        raise ValueError
      pairs.append((int(step), float(rate)))
    except ValueError:
      raise InputError(f"--learning_rate_drops: expected step:rate pairs such as 50000:0.01, got {text!r}.") from None
  return tuple(pairs)


def train(dataset):
  """Trains as the flags say; draws the training curves; says what to do next."""
  settings: TrainingConfig = config(dataset)
  _note_unused_flags()
  entry.load_tensorflow()
  from tla_tf import reporting, training

  folder = training.train(settings, FLAGS.output_dir, getattr(FLAGS, "data_dir", None))
  figure = reporting.training_curves(folder.read_metrics(), folder.figures / "training.png",
                                     f"{settings.method} on {dataset}, {settings.network}")
  print(f"run folder   {folder.path}\nfigure       {figure}\nTensorBoard  tensorboard --logdir {folder.tensorboard}\n"
        f"next         tla-evaluate --run_dir={folder.path}")
