"""Learning-rate schedules, published fine-tuning settings, starting from another run's weights."""

import math
import shutil

import cli_support as cli
import golden_support as golden
import keras
import numpy as np
import pytest

from tla_tf import networks, published, training, types
from tla_tf.config import InitConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.loading import load_network
from tla_tf.records.run import DataFacts
from tla_tf.training import WarmUp

# ------------------------------------------------------------------- schedules

PIECEWISE = dict(learning_rate=0.2, learning_rate_drops=((10, 0.02), (25, 0.004)))
COSINE = dict(learning_rate=0.2, learning_rate_schedule="cosine", cosine_steps=40)
CONSTANT = dict(learning_rate=0.2)
STEPS = [0, 1, 4, 5, 6, 9, 10, 11, 12, 24, 25, 26, 39, 40, 41, 1000]


def closed_form(
  step, learning_rate, learning_rate_drops=(), learning_rate_schedule="piecewise", cosine_steps=0, warmup_steps=0
):
  """The rate of a step, counted from 0, by hand."""
  rate = learning_rate
  for boundary, after in learning_rate_drops:
    rate = after if step > boundary else rate
  if learning_rate_schedule == "cosine":
    rate *= 0.5 * (1 + math.cos(math.pi * min(step / cosine_steps, 1)))
  return rate * min(1, (step + 1) / (warmup_steps + 1))


def rate_at(optimizer, step):
  """The rate that an optimiser uses for a step."""
  optimizer.iterations.assign(step)
  return float(optimizer.learning_rate)


@pytest.mark.parametrize("warmup_steps", [0, 1, 5, 11])
@pytest.mark.parametrize("settings", [PIECEWISE, COSINE, CONSTANT], ids=["piecewise", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_the_rate_is_the_closed_form(settings, warmup_steps, optimizer):
  settings = {**settings, "warmup_steps": warmup_steps}
  made = training.make_optimizer(TrainingConfig(optimizer=optimizer, **settings))
  for step in STEPS:
    assert rate_at(made, step) == pytest.approx(closed_form(step, **settings), rel=1e-5, abs=1e-7), step


def test_landmarks_of_a_warm_up_before_a_cosine():
  rate = training.make_learning_rate(TrainingConfig(**COSINE, warmup_steps=3))
  assert float(rate(0)) == pytest.approx(0.2 / 4)
  assert float(rate(20)) == pytest.approx(0.1)
  assert float(rate(40)) == float(rate(10_000)) == 0.0


def test_a_plain_rate_stays_a_number():
  assert training.make_learning_rate(TrainingConfig(**CONSTANT)) == 0.2


@pytest.mark.parametrize(
  "schedule",
  [
    0.1,
    keras.optimizers.schedules.CosineDecay(0.1, 20),
    keras.optimizers.schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.01, 0.001]),
  ],
  ids=["number", "cosine", "piecewise"],
)
def test_a_warm_up_round_trips(schedule):
  warm_up = WarmUp(schedule, 4)
  again = WarmUp.from_config(warm_up.get_config())
  optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(training.Momentum(warm_up)))
  for step in (0, 3, 4, 6, 12, 30):
    assert float(again(step)) == float(warm_up(step)) == rate_at(optimizer, step)


@pytest.mark.parametrize(
  "changes, name",
  [
    (dict(learning_rate_schedule="cosine", learning_rate_drops=((5, 0.1),)), "learning_rate_drops"),
    (dict(cosine_steps=5), "cosine_steps"),
    (dict(learning_rate_schedule="cosine", cosine_steps=40, warmup_steps=40), "warmup_steps"),
    (dict(learning_rate_schedule="cosine", train_steps=30, warmup_steps=31), "warmup_steps"),
  ],
)
def test_schedules_that_contradict_themselves_are_refused(changes, name):
  with pytest.raises(InputError, match=f"`{name}`"):
    TrainingConfig(**changes)


def test_a_cosine_ends_where_the_run_was_to_end_when_it_was_begun():
  config = TrainingConfig(learning_rate_schedule="cosine", train_steps=300, warmup_steps=299)
  assert config.cosine_steps == 300
  assert config.replace(train_steps=500).cosine_steps == 300
  assert config.replace(cosine_steps=400).cosine_steps == 400


# ------------------------------------------------------------------- published settings


def test_cifar10_is_the_authors_configuration():
  config = published.setting("cifar10")
  triplet = config.recipe.triplet
  assert (config.network, config.batch_size, config.seed) == ("wrn_32_10", 50, 441760342)
  assert (triplet.weight, triplet.margin, triplet.twin_margin, triplet.feature_norm_weight) == (2.0, 0.03, 0.03, 1e-3)
  assert (config.attack.steps, config.validation_attack.steps, config.train_steps) == (7, 20, 80_000)
  assert config.recipe.negative_pool_size == 500
  assert (config.augment_pad, config.augment_flip, config.recipe.pairing_weight) == (2, True, 0.0)


def test_tiny_imagenet_is_the_authors_configuration():
  config = published.setting("tiny_imagenet")
  triplet = config.recipe.triplet
  assert (config.network, config.batch_size, config.seed) == ("resnet_50", 20, 221760322)
  assert (triplet.weight, triplet.margin, triplet.twin_margin, triplet.feature_norm_weight) == (0.5, 0.02, 0.6, 1e-3)
  assert (config.attack.steps, config.validation_attack.steps, config.recipe.negative_pool_size) == (7, 10, 20)
  assert (config.augment_pad, config.augment_flip) == (4, True)


@pytest.mark.parametrize("dataset", ["cifar10", "tiny_imagenet", "images"])
def test_colour_images_share_ball_optimizer_and_positives(dataset):
  config = published.setting(dataset)
  assert (config.attack.epsilon, config.attack.step_size) == (8 / 255, 2 / 255)
  assert config.validation_attack.epsilon == config.recipe.triplet.twin_noise == 8 / 255
  assert (config.optimizer, config.weight_decay) == ("momentum", 2e-4)
  assert config.recipe.triplet.positives is types.Positives.BOTH


@pytest.mark.parametrize("method", ["um", "at", "alp", "tla", "tla_rn", "tla_sa"])
@pytest.mark.parametrize("dataset", ["cifar10", "tiny_imagenet", "images"])
def test_what_the_method_changes_on_colour_images(dataset, method):
  config = published.setting(dataset, method)
  assert config.label_smoothing == 0.0
  of_tla, recipe = method.startswith("tla"), config.recipe
  if method == "um":
    return
  in_training_mode = method == "at" and dataset != "images"
  assert recipe.attack_mode.value == ("training" if in_training_mode else "inference")
  if method != "at":
    pairs = method == "alp" or (of_tla and dataset == "tiny_imagenet")
    assert recipe.pairing_weight == (0.5 if pairs else 0.0)
    assert recipe.pairing.value == ("embedding" if of_tla else "logits")


@pytest.mark.parametrize(
  "dataset, fine_tuning, name",
  [
    ("cifar10", False, "cifar10_from_scratch"),
    ("cifar10", True, "cifar10_finetuning"),
    ("tiny_imagenet", False, "imagenet"),
    ("tiny_imagenet", True, "imagenet_finetuning"),
    ("images", True, "imagenet_finetuning"),
    ("mnist", False, "mnist"),
    ("mnist", True, "mnist"),
  ],
)
def test_the_rates_are_those_of_the_authors_runs(dataset, fine_tuning, name):
  optimizer = training.make_optimizer(published.setting(dataset, fine_tuning=fine_tuning))
  for step, rate in golden.numbers("schedule")[name]["rate_at_step"]:
    assert rate_at(optimizer, step) == pytest.approx(rate, rel=1e-6), step


@pytest.mark.parametrize(
  "dataset, rate, drops",
  [
    ("cifar10", 0.1, ((1_000, 0.01), (5_000, 0.001))),
    ("tiny_imagenet", 1e-4, ((60_000, 1e-5),)),
    ("images", 1e-4, ((60_000, 1e-5),)),
  ],
)
def test_fine_tuning_changes_only_the_rates(dataset, rate, drops):
  plain, tuned = published.setting(dataset), published.setting(dataset, fine_tuning=True)
  assert tuned == plain.replace(learning_rate=rate, learning_rate_drops=drops)


@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_grey_images_have_no_rates_of_fine_tuning(dataset):
  assert published.setting(dataset, fine_tuning=True) == published.setting(dataset)


# ------------------------------------------------------------------- finding and taking the weights


def write_run(folder, network="mlp_16", shape=(8, 8, 1), scores=((10, 0.7), (20, 0.3))):
  """A finished run of fresh weights whose statistics have moved; its folder."""
  run = RunFolder(folder)
  run.write_config(
    published.setting("digits", network=network),
    DataFacts(digest=None, image_shape=shape, num_classes=10, class_names=tuple("0123456789"), data_dir=None),
    {},
  )
  for step, score in scores:
    made = networks.build(network, shape, 10, seed=step)
    made(np.random.default_rng(step).uniform(size=(9, *shape)).astype(np.float32), training=True)
    CheckpointStore(run.checkpoints, keep=9).save(step, {"network": made}, {"val_robust_accuracy": score})
  return folder


def assert_equal(ours, theirs):
  for left, right in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("source") / "run")


@pytest.mark.parametrize("which, step", [("best", 10), ("last", 20), ("10", 10), ("20", 20)])
def test_a_checkpoint_is_found_by_name_or_step(source, which, step):
  init = training.find_init(source, which)
  assert (init.run_dir, init.checkpoint) == (str(source), step)
  assert init.digest == CheckpointStore(source / "checkpoints").digest(step)
  network = networks.build("mlp_16", (8, 8, 1), 10, seed=99)
  training.initialise(network, init)
  assert_equal(network.variables, load_network(RunFolder.open(source), step).variables)


def test_a_relative_folder_is_found_again_from_elsewhere(source, monkeypatch):
  monkeypatch.chdir(source.parent)
  assert training.find_init(source.name).run_dir == str(source)


@pytest.mark.parametrize("which, match", [("15", "no checkpoint '15'"), ("worst", "no checkpoint 'worst'")])
def test_another_checkpoint_is_not_found(source, which, match):
  with pytest.raises(InputError, match=match):
    training.find_init(source, which)


def test_a_run_without_checkpoints_has_nothing_to_begin_with(tmp_path):
  with pytest.raises(InputError, match="no checkpoint yet"):
    training.find_init(write_run(tmp_path / "run", scores=()))


@pytest.mark.parametrize(
  "network, shape, classes",
  [
    ("mlp_32", (8, 8, 1), 10),
    ("lenet_1", (8, 8, 1), 10),
    ("mlp_16", (9, 9, 1), 10),
    ("mlp_16", (8, 8, 1), 3),
    ("wrn_8_1", (8, 8, 1), 10),
  ],
  ids=str,
)
def test_weights_of_another_network_are_refused_whole(source, network, shape, classes):
  ours = networks.build(network, shape, classes)
  before = [np.array(v) for v in ours.variables]
  with pytest.raises(InputError, match=f"{source}: its network "):
    training.initialise(ours, training.find_init(source))
  assert_equal(ours.variables, before)


@pytest.mark.parametrize("ours, theirs", [("wrn_14_1", "wrn_8_1"), ("wrn_8_1", "wrn_14_1")])
def test_weights_of_another_depth_are_refused(tmp_path, ours, theirs):
  source = write_run(tmp_path / "run", theirs, scores=[(10, 0.5)])
  with pytest.raises(InputError, match="its network"):
    training.initialise(networks.build(ours, (8, 8, 1), 10), training.find_init(source))


def test_a_checkpoint_that_has_changed_is_refused(tmp_path):
  source = write_run(tmp_path / "run")
  init = training.find_init(source)
  write_run(source, scores=[(10, 0.9)])
  network = networks.build("mlp_16", (8, 8, 1), 10)
  training.initialise(network, init)  # the same weights, written again
  with pytest.raises(InputError, match="not the one that this run began with"):
    training.initialise(network, init.replace(digest="0" * 64))


class TestARunThatHasBegun:
  """It goes on with what it began with, whatever has become of the other run."""

  @pytest.fixture
  def begun(self, source, tmp_path):
    """(copy of the source, output folder of a run that began with its best checkpoint, that InitConfig)."""
    other, output = shutil.copytree(source, tmp_path / "other"), tmp_path / "output"
    init = training.find_init(other)
    RunFolder(output).write_config(
      published.setting("digits").replace(init=init),
      DataFacts(digest=None, image_shape=(8, 8, 1), num_classes=10, class_names=(), data_dir=None),
      {},
    )
    return other, output, init

  @pytest.mark.parametrize("which", ["best", "last", "10"])
  def test_the_other_run_may_be_gone(self, begun, which):
    other, output, init = begun
    shutil.rmtree(other)
    assert training.find_init(other, which, output) == init

  def test_the_other_run_may_have_a_new_best(self, begun):
    other, output, init = begun
    write_run(other, scores=[(30, 0.99)])
    assert training.find_init(other).checkpoint == 30
    assert training.find_init(other, "best", output) == init

  def test_another_step_is_looked_up(self, begun):
    other, output, _ = begun
    assert training.find_init(other, "20", output).checkpoint == 20

  def test_a_run_that_has_not_begun_needs_the_other(self, begun, tmp_path):
    other, _, _ = begun
    shutil.rmtree(other)
    with pytest.raises(InputError, match="no such folder"):
      training.find_init(other, "best", tmp_path / "new")

  def test_a_moved_run_has_the_same_settings(self, begun):
    """The same weights elsewhere: `init.digest` alone decides."""
    other, output, init = begun
    other.rename(other.with_name("moved"))
    moved = training.find_init(other.with_name("moved"), "best", output)
    assert moved == init.replace(run_dir=str(other.with_name("moved")))
    assert TrainingConfig(init=init).first_difference(TrainingConfig(init=moved)) is None
    assert TrainingConfig(init=init).first_difference(TrainingConfig(init=InitConfig()))[0] == "init.digest"


# ------------------------------------------------------------------- console script

# The first step at rate 0, its weights kept.
TUNE = (
  "--method=um",
  "--checkpoint_every=1",
  "--keep_checkpoints=9",
  "--train_steps=4",
  "--optimizer=momentum",
  "--learning_rate=0",
  "--learning_rate_drops=1:0.01",
)


@pytest.fixture(scope="module")
def tuned(source, tmp_path_factory):
  folder = tmp_path_factory.mktemp("tuned") / "run"
  cli.train_small(folder, *TUNE, f"--init_from={source}")
  return folder


def test_the_first_weights_are_those_of_the_other_run(source, tuned):
  begun, first, last = (
    load_network(RunFolder.open(folder), step).trainable_variables
    for folder, step in ((source, 10), (tuned, 1), (tuned, 4))
  )
  assert_equal(first, begun)
  assert any(not np.array_equal(left, right) for left, right in zip(first, last))


def test_it_resumes_to_the_same_bits_without_the_other_run(source, tuned, tmp_path):
  other = shutil.copytree(source, tmp_path / "other")
  cli.train_small(tmp_path / "run", *TUNE, f"--init_from={other}", "--train_steps=2")
  shutil.rmtree(other)
  assert "going on at step 2" in cli.train_small(tmp_path / "run", *TUNE, f"--init_from={other}")
  cli.assert_same_run(tuned, tmp_path / "run", 4)


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--network=mlp_32"], ["its network mlp_16 does not fit", "--network"]),
    (["--init_from=/nowhere/run"], ["/nowhere/run", "no such folder"]),
  ],
)
def test_a_run_that_cannot_be_begun_with_is_one_sentence(source, tmp_path, flags, words):
  output = tmp_path / "run"
  cli.assert_refused(
    cli.run("tla-train-digits", *cli.SMALL, *TUNE, f"--output_dir={output}", f"--init_from={source}", *flags), *words
  )
  assert not output.exists()


def test_a_run_goes_on_only_with_what_it_began_with(source, tuned):
  before = cli.contents(tuned)
  cli.assert_refused(
    cli.run(
      "tla-train-digits", *cli.SMALL, *TUNE, f"--output_dir={tuned}", f"--init_from={source}", "--init_checkpoint=20"
    ),
    "began with other weights",
    "--init_from",
  )
  assert cli.contents(tuned) == before
