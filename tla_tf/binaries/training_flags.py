"""The flags that the training tools share, and the config that they make."""

import dataclasses
import sys

from absl import flags

from tla_tf import published, types
from tla_tf.binaries import entry
from tla_tf.binaries.entry import define_choice, define_fraction
from tla_tf.config import OPTIMIZERS, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.reporting.tables import pixels

FLAGS = flags.FLAGS

# Flag -> field of the config; a dot leads into a nested one.
_FIELDS = {
  "network": "network",
  "epsilon": "attack.epsilon",
  "attack_steps": "attack.steps",
  "attack_step_size": "attack.step_size",
  "attack_mode": "attack_mode",
  "triplet_weight": "triplet.weight",
  "margin": "triplet.margin",
  "distance": "triplet.distance",
  "feature_norm": "triplet.feature_norm",
  "feature_norm_weight": "triplet.feature_norm_weight",
  "positives": "triplet.positives",
  "twin_margin": "triplet.twin_margin",
  "twin_noise": "triplet.twin_noise",
  "negatives": "triplet.negatives",
  "negative_pool_size": "negative_pool_size",
  "pairing": "pairing",
  "pairing_weight": "pairing_weight",
  "clean_weight": "clean_weight",
  "batch_size": "batch_size",
  "train_steps": "train_steps",
  "optimizer": "optimizer",
  "learning_rate": "learning_rate",
  "weight_decay": "weight_decay",
  "label_smoothing": "label_smoothing",
  "seed": "seed",
  "deterministic": "deterministic",
  "jit": "jit",
  "checkpoint_every": "checkpoint_every",
  "keep_checkpoints": "keep_checkpoints",
  "validation_examples": "validation_examples",
  "validation_attack_steps": "validation_attack.steps",
  "data_source": "data_source",
  "heldout_examples": "reading.heldout",
  "classes": "reading.classes",
  "image_size": "reading.image_size",
  "resize": "reading.resize",
  "channels": "reading.channels",
  "augment_pad": "augment_pad",
  "augment_flip": "augment_flip",
  "learning_rate_schedule": "learning_rate_schedule",
  "warmup_steps": "warmup_steps",
  "cosine_steps": "cosine_steps",
}


_HELDOUT = {
  "digits": "Default: 200.",
  "mnist": "Published: the first 5,000.",
  "cifar10": "Default: the first 1,000, at most a tenth. The authors hold out none and choose on test images.",
  "tiny_imagenet": "Default: 1,000, at most a tenth; of files, of all classes alike. The authors choose on test "
  "images.",
  "images": "Default: 500, at most a tenth, of all classes in proportion.",
}

_ONLY_TRIPLET = (
  "triplet_weight",
  "margin",
  "distance",
  "feature_norm",
  "feature_norm_weight",
  "positives",
  "twin_margin",
  "twin_noise",
  "negatives",
  "negative_pool_size",
)


def define(dataset):
  """Defines the training flags of a data set; unset ones keep its published value."""
  base = published.setting(dataset)
  triplet = base.triplet

  origin = "Default" if dataset in ("digits", "images") else f"Published setting of {dataset}"

  def is_(value):
    return f" {origin}: {value}."

  def is_pixels(value):
    return is_(pixels(value))

  def by_method(field):
    """The setting's value, and the methods that have another."""
    values = {m.value: getattr(published.setting(dataset, m), field) for m in types.Method}
    others = "".join(f", for {name} {value}" for name, value in values.items() if value != values["um"])
    return is_(f"{values['um']}{others}")

  flags.DEFINE_string("output_dir", None, "Run folder: new, empty, or of the same run to go on with.")
  _define_reading(dataset)
  flags.DEFINE_integer(
    "augment_pad", None, "Zeros around each training image before it is cropped back at random." + is_(base.augment_pad)
  )
  flags.DEFINE_bool("augment_flip", None, "Mirror training images left to right at random." + is_(base.augment_flip))
  flags.DEFINE_string(
    "init_from", None, "Run folder whose network to begin with (fine-tuning)." + _fine_tuning_rate(dataset)
  )
  flags.DEFINE_string("init_checkpoint", "best", "Which checkpoint of --init_from: best, last, or a step.")
  define_choice(
    "method",
    "tla",
    types.Method,
    "um: undefended; at: adversarial training; alp: adversarial logit "
    "pairing; tla: triplet loss adversarial training; tla_rn: with random negatives; tla_sa: anchor and "
    "positive switched.",
  )
  flags.DEFINE_string(
    "network",
    None,
    "mlp, lenet, convnet, resnet_50, perhaps with a width (mlp_256, resnet_50_16), "
    "or wrn_DEPTH_WIDTH." + is_(base.network),
  )
  define_fraction(
    "epsilon", None, "Radius of the L-infinity ball, pixels in [0, 1]; 8/255 works." + is_pixels(base.attack.epsilon)
  )
  flags.DEFINE_integer("attack_steps", None, "PGD steps of the training attack." + is_(base.attack.steps))
  define_fraction("attack_step_size", None, "Step size of the training attack." + is_pixels(base.attack.step_size))
  define_choice(
    "attack_mode",
    None,
    types.PassMode,
    "Batch statistics that the training attack sees: inference, or "
    "training as the authors' AT script (statistics then do not move)." + by_method("attack_mode"),
  )
  flags.DEFINE_integer(
    "validation_attack_steps", None, "PGD steps of the attack on held-out images." + is_(base.validation_attack.steps)
  )
  flags.DEFINE_integer(
    "validation_examples",
    None,
    "Held-out images that are attacked at every checkpoint." + is_(base.validation_examples),
  )
  flags.DEFINE_float("triplet_weight", None, "lambda_1." + is_(triplet.weight))
  flags.DEFINE_float("margin", None, "alpha of the class-mate term." + is_(triplet.margin))
  define_choice("distance", None, types.Distance, "Distance between embeddings." + is_(triplet.distance))
  define_choice(
    "feature_norm",
    None,
    types.FeatureNorm,
    "mean_square: authors' code, multiplied by triplet_weight "
    "too; l2: the paper's Equation 1, its weight stands alone." + is_(triplet.feature_norm),
  )
  flags.DEFINE_float("feature_norm_weight", None, "Weight of the feature norm." + is_(triplet.feature_norm_weight))
  define_choice(
    "positives",
    None,
    types.Positives,
    "classmate: another image of the class; twin: the anchor's clean "
    "image; both: one triplet term each." + is_(triplet.positives),
  )
  flags.DEFINE_float("twin_margin", None, "alpha of the twin term." + is_(triplet.twin_margin))
  define_fraction(
    "twin_noise",
    None,
    "Half-width of the noise on the twin; the authors' code has 8/255 on colour "
    "images, rounded to 8 bits." + is_pixels(triplet.twin_noise),
  )
  define_choice(
    "negatives",
    None,
    types.Negatives,
    "nearest: of another class, in the pool; random: of another class "
    "(what the paper says of TLA-RN); authors_random: of any class (what the code does for it).",
  )
  flags.DEFINE_integer("negative_pool_size", None, "Images to pick negatives from." + is_(base.negative_pool_size))
  define_choice(
    "pairing",
    None,
    types.PairingTarget,
    "What pairs each attacked image with its clean one: logits "
    "(paper's ALP) or embedding (code's match_l2). Published: logits for ALP, embedding for the TLA "
    "methods, where it has a weight.",
  )
  flags.DEFINE_float("pairing_weight", None, "Weight of the pairing." + by_method("pairing_weight"))
  flags.DEFINE_float(
    "clean_weight",
    None,
    "Weight of the clean images' mean cross-entropy; the authors train on "
    "adversarial images only." + is_(base.clean_weight),
  )
  flags.DEFINE_integer("batch_size", None, "Anchors a step." + is_(base.batch_size))
  flags.DEFINE_integer(
    "train_steps",
    None,
    "Steps in all; may grow when a run goes on (under a cosine schedule with "
    "--cosine_steps as it was)." + is_(base.train_steps),
  )
  flags.DEFINE_enum("optimizer", None, OPTIMIZERS, "adam, or momentum SGD (0.9)." + is_(base.optimizer))
  flags.DEFINE_float("learning_rate", None, "Learning rate of the first step." + is_(base.learning_rate))
  drops = ",".join(f"{step}:{rate:g}" for step, rate in base.learning_rate_drops) or "none"
  flags.DEFINE_list(
    "learning_rate_drops",
    None,
    "step:rate pairs, e.g. 50000:0.01,60000:0.001; a rate holds from the step after its boundary." + is_(drops),
  )
  define_choice(
    "learning_rate_schedule",
    None,
    types.Schedule,
    "piecewise: constant between the drops; cosine: from "
    "the first rate to 0 within --cosine_steps, without drops." + is_(base.learning_rate_schedule),
  )
  flags.DEFINE_integer(
    "warmup_steps",
    None,
    "Steps within which the rate rises linearly from 0 to the schedule's." + is_(base.warmup_steps),
  )
  flags.DEFINE_integer("cosine_steps", None, "Length of the cosine schedule; --train_steps by default.")
  flags.DEFINE_float("weight_decay", None, "Of kernels: half the squared L2 norm." + is_(base.weight_decay))
  flags.DEFINE_float("label_smoothing", None, "Published: 0.1 for LeNet under the TLA methods and ALP, else 0.")
  flags.DEFINE_integer("seed", None, "Seed of weights, batches and attacks." + is_(base.seed))
  flags.DEFINE_bool("deterministic", None, "Same bits in every run on one machine." + is_(base.deterministic))
  define_choice("jit", None, types.Jit, "XLA for the training step; auto: where it pays." + is_(base.jit))
  flags.DEFINE_integer(
    "checkpoint_every", None, "Steps between checkpoints, logs and held-out accuracy." + is_(base.checkpoint_every)
  )
  flags.DEFINE_integer(
    "keep_checkpoints", None, "Last checkpoints to keep, besides the best." + is_(base.keep_checkpoints)
  )
  flags.mark_flag_as_required("output_dir")


def _define_reading(dataset):
  """The flags of where images come from and how they are read."""
  flags.DEFINE_integer(
    "heldout_examples",
    None,
    "Training images held out to choose the best checkpoint. " + _HELDOUT[dataset],
    lower_bound=1,
  )
  if dataset == "digits":
    return
  flags.DEFINE_string(
    "data_dir",
    None,
    "Folder that holds train/<class>/* and test/<class>/*, JPEG or PNG."
    if dataset == "images"
    else "Folder of the data set's files, or TFDS's data folder.",
  )
  if dataset != "images":
    define_choice(
      "data_source",
      None,
      types.DataSource,
      "auto: files or prepared TFDS data, whichever data_dir holds; tfds: through TFDS, downloading what is missing.",
    )
  if dataset in ("tiny_imagenet", "images"):
    flags.DEFINE_string(
      "cache_dir", None, "Folder of decoded images; $XDG_CACHE_HOME/tla_tf or ~/.cache/tla_tf by default."
    )
    flags.DEFINE_list("classes", None, "Classes to read, in their order of labels; all by default.")
  if dataset == "images":
    entry.define_size(
      "image_size",
      None,
      "Height and width to train on, 64 or 64x48; by default the size of the first image, which all must then have.",
    )
    define_choice(
      "resize",
      None,
      types.Resize,
      "What is done with an image of another size. refuse: stop; stretch: "
      "scale, whatever its proportions; crop: scale until it covers the size, keep the middle.",
    )
    flags.DEFINE_integer("channels", None, "3 for colour, 1 for grey.")


def _fine_tuning_rate(dataset):
  """What the help of --init_from says of the learning rate."""
  plain, tuned = published.setting(dataset), published.setting(dataset, fine_tuning=True)
  if plain == tuned:
    return ""
  drops = ", ".join(f"{rate:g} from {step:,}" for step, rate in tuned.learning_rate_drops)
  return f" The learning rate is then {tuned.learning_rate:g}, {drops}, unless given."


def config(dataset):
  """The TrainingConfig of the parsed flags.

  Raises:
    InputError: for a value out of its range.
  """
  if FLAGS.method == "tla_rn" and FLAGS.negatives == "nearest":
    raise InputError(
      "--method=tla_rn has random negatives: give --negatives=random or authors_random, or --method=tla."
    )
  base = published.setting(dataset, FLAGS.method, FLAGS.network, fine_tuning=FLAGS.init_from is not None)
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
  if changes.get("learning_rate_schedule") == "cosine" and FLAGS.learning_rate_drops is None:
    changes["learning_rate_drops"] = ()
  for outer, values in nested.items():
    changes[outer] = _replace(getattr(base, outer), values)
  if FLAGS.learning_rate_drops is not None:
    changes["learning_rate_drops"] = _drops(FLAGS.learning_rate_drops)
  return _replace(base, changes)


def _note_unused_flags(settings):
  """Says which given flags the method has no use for; flag files serve every method."""
  triplet = FLAGS.method.startswith("tla")
  positives = settings.triplet.positives
  unused = [] if triplet else list(_ONLY_TRIPLET)
  if FLAGS.method in ("um", "at"):
    unused += ["pairing", "pairing_weight"]
  if FLAGS.method == "um":
    unused += ["clean_weight", "attack_mode"]
  if triplet and positives is types.Positives.CLASSMATE:
    unused += ["twin_margin"] + ["twin_noise"] * (not settings.pairing_weight and not settings.clean_weight)
  if triplet and positives is types.Positives.TWIN:
    unused.append("margin")
  given = [f"--{flag}" for flag in unused if getattr(FLAGS, flag) is not None]
  if given:
    print(
      f"note: {', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect on --method={FLAGS.method}",
      file=sys.stderr,
    )


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
  _note_unused_flags(settings)
  entry.load_tensorflow()
  from tla_tf import reporting, training

  if FLAGS.init_from is not None:
    settings = settings.replace(init=training.find_init(FLAGS.init_from, FLAGS.init_checkpoint, FLAGS.output_dir))
  folder = training.train(
    settings,
    FLAGS.output_dir,
    getattr(FLAGS, "data_dir", None),
    getattr(FLAGS, "cache_dir", None),
    reading_progress=entry.reading_progress,
  )
  figure = reporting.training_curves(
    {str(settings.method): folder.read_metrics()},
    folder.figures / "training.png",
    f"{settings.method} on {dataset}, {settings.network}",
  )
  print(
    f"run folder   {folder.path}\nfigure       {figure}\nTensorBoard  tensorboard --logdir {folder.tensorboard}\n"
    f"next         tla-evaluate --run_dir={folder.path}"
  )
