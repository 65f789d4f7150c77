"""Import of TF1 checkpoints, each written here by TF1's own Saver."""

import json
import os
import pathlib

import cli_support as cli
import golden_support as golden
import numpy as np
import pytest
import tensorflow as tf
from tf1_support import SCOPE, V1, V2, small, write_checkpoint

from tla_tf import networks, training
from tla_tf.errors import InputError
from tla_tf.persistence import CheckpointStore, RunFolder
from tla_tf.persistence.export import export_saved_model
from tla_tf.persistence.loading import load_network
from tla_tf.persistence.tf1_import import Tf1Checkpoint, import_checkpoint
from tla_tf.persistence.tf1_names import last_layer, tf1_names
from tla_tf.records import training_epsilon

FORWARD, EXPORT = 3e-5, 1e-6
each_format = pytest.mark.parametrize("version", [V1, V2], ids=["V1", "V2"])


def slots(variables, endings, before=""):
  """Slots that an optimizer keeps for the smaller variables."""
  return {
    f"{before}{name}/{ending}": np.full_like(value, 9.0)
    for name, value in variables.items()
    for ending in endings
    if np.size(value) < 20_000
  }


ADAM = {"beta1_power": np.float32(0.5), "beta2_power": np.float32(0.9)}


class Import:
  """One import into `run` of a folder, and what it said."""

  def __init__(self, tmp_path, checkpoint, network="mlp_4", dataset="mnist", **options):
    self.lines = []
    self.folder = import_checkpoint(checkpoint, network, tmp_path / "run", dataset, say=self.lines.append, **options)
    self.step = CheckpointStore(self.folder.checkpoints).last()
    self.network = load_network(self.folder, self.step)
    self.record = json.loads((self.folder.path / "config.json").read_text())["imported"]

  def assert_values(self, variables, scope=SCOPE):
    """Asserts that the variables of the network are these."""
    for name, variable in tf1_names(self.network).items():
      np.testing.assert_array_equal(variable, variables[scope + name], err_msg=name)


def refused(tmp_path, checkpoint, match, network="mlp_4", dataset="mnist", **options):
  """Asserts a refusal that leaves nothing behind; returns what was said before."""
  before, lines = sorted(tmp_path.rglob("*")), []
  with pytest.raises(InputError, match=match):
    import_checkpoint(checkpoint, network, tmp_path / "run", dataset, say=lines.append, **options)
  assert sorted(tmp_path.rglob("*")) == before
  return "\n".join(lines)


# ------------------------------------------------------------------- the authors' networks


@pytest.mark.parametrize(
  "name, dataset, version, endings, before",
  [
    ("mlp", "mnist", V1, ("Adam", "Adam_1"), ""),
    ("lenet", "mnist", V2, ("Adam", "Adam_1"), "optimizer/"),
    ("wrn_32_10", "cifar10", V2, ("Momentum",), ""),
    ("resnet_50", "tiny_imagenet", V1, ("Momentum",), "train/sgd/"),
  ],
  ids=["mlp", "lenet", "wrn_32_10", "resnet_50"],
)
def test_an_imported_network_gives_the_authors_outputs(tmp_path, name, dataset, version, endings, before):
  """Import, load, export: the outputs of the authors' graph at every stage."""
  weights = golden.reference_weights(name)
  others = {**slots(weights, endings, before), **(ADAM if "Adam" in endings else {}), "global_step": np.int64(70)}
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", {**weights, **others}, version), name, dataset)
  assert done.lines == [
    f"{len(weights)} variables match under the scope 'main_encoder/', {len(others)} of the optimizer are skipped."
  ]
  reference = golden.arrays(f"{golden.FORWARD_MODELS[name]}_forward")
  images = golden.inputs(name)["A"]
  outputs = done.network(images)
  for ours, theirs in (("embedding", "x4"), ("logits", "logits")):
    golden.assert_close(outputs[ours], reference[f"eval/{theirs}"], FORWARD, f"{name} imported")
  export_saved_model(done.network, images.shape[1:], tmp_path / "saved_model")
  exported = tf.saved_model.load(str(tmp_path / "saved_model"))
  golden.assert_close(exported.serve(images)["logits"], outputs["logits"], EXPORT, f"{name} exported")


# ------------------------------------------------------------------- scopes, slots, steps


@pytest.mark.parametrize("scope", ["", "main_encoder/", "model_3/net/"], ids=["Madry's", "authors'", "another"])
@pytest.mark.parametrize(
  "network, dataset, shape", [("mlp_4", "mnist", (28, 28, 1)), ("wrn_8_1", "cifar10", (32, 32, 3))]
)
def test_names_under_any_scope(tmp_path, scope, network, dataset, shape):
  variables = small(network, scope, shape)
  optimizer = slots(variables, ["Momentum"], "train/")
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", {**variables, **optimizer}), network, dataset)
  done.assert_values(variables, scope)
  assert f"{len(optimizer)} of the optimizer are skipped" in done.lines[0]
  assert done.record["missing"] == []


def test_it_is_judged_at_the_epsilon_that_it_was_trained_at(tmp_path):
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", small()), epsilon=0.15)
  config, _ = done.folder.read_config()
  assert (config.attack.epsilon, config.attack.step_size) == (0.15, pytest.approx(0.005))
  assert training_epsilon(config.to_dict()) == 0.15


@each_format
@pytest.mark.parametrize("name, step", [("global_step", 70), ("train/global_step", 70), (None, 0)])
def test_the_step_is_that_of_the_checkpoint(tmp_path, version, name, step):
  counter = {name: np.int64(70)} if name else {}
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", {**small(), **counter}, version))
  assert done.step == step == done.record["step"]
  done.assert_values(small())


@pytest.mark.parametrize(
  "dataset, classes, first",
  [("mnist", 10, "0"), ("mnist", 3, "class 0"), ("cifar10", 10, "airplane"), ("tiny_imagenet", 200, "class 0")],
)
def test_the_classes_are_those_of_the_checkpoint(tmp_path, dataset, classes, first):
  shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "tiny_imagenet": (64, 64, 3)}[dataset]
  done = Import(
    tmp_path,
    write_checkpoint(tmp_path / "tf1", small(shape=shape, classes=classes)),
    dataset=dataset,
    data_dir="/data",
    method="at",
  )
  config, facts = done.folder.read_config()
  assert done.network.output["logits"].shape == (None, classes)
  assert (facts.image_shape, facts.num_classes, facts.data_dir) == (shape, classes, "/data")
  assert (len(facts.class_names), facts.class_names[0]) == (classes, first)
  assert (config.dataset, config.network, config.method) == (dataset, "mlp_4", "at")


def test_a_partial_import_does_without_the_last_biases(tmp_path):
  variables = small()
  del variables[SCOPE + "fcb2/biases"]
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", variables), allow_partial=True)
  assert done.record["missing"] == ["fcb2/biases"]
  assert done.network.output["logits"].shape == (None, 3)


def test_images_of_another_size(tmp_path):
  variables = small(shape=(9, 7, 3))
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", variables), dataset="images", image_size=(9, 7))
  assert done.network.input_shape == (None, 9, 7, 3)
  assert done.folder.read_config()[0].reading.image_size == (9, 7)
  done.assert_values(variables)


@pytest.mark.parametrize(
  "dataset, size, match",
  [
    ("mnist", (9, 7), "images of mnist are 28x28"),
    ("images", None, "give `image_size`"),
    ("images", (-5, 7), "image_size"),
    ("images", (0, 0), "image_size"),
  ],
)
def test_a_size_that_does_not_fit_is_refused(tmp_path, dataset, size, match):
  refused(tmp_path, write_checkpoint(tmp_path / "tf1", small()), match, dataset=dataset, image_size=size)


def test_a_folder_that_was_moved_is_read(tmp_path):
  prefix = pathlib.Path(write_checkpoint(tmp_path / "tf1", small()))
  (prefix.parent / "checkpoint").write_text(f'model_checkpoint_path: "/elsewhere/{prefix.name}"\n')
  Import(tmp_path, prefix.parent).assert_values(small())


@pytest.mark.parametrize(
  "state, match",
  [
    (b"\xff\xfe\x00", "holds no file .checkpoint.|damaged"),
    (b"model_checkpoint_path", "holds no file|damaged"),
    (b'model_checkpoint_path: "other-7"\n', "other-7, which is not there"),
  ],
)
def test_a_bad_state_file_is_refused(tmp_path, state, match):
  folder = pathlib.Path(write_checkpoint(tmp_path / "tf1", small())).parent
  (folder / "checkpoint").write_bytes(state)
  refused(tmp_path, folder, match)


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_any_file_of_a_checkpoint_names_it(tmp_path, suffix):
  prefix = write_checkpoint(tmp_path / "tf1", small())
  Import(tmp_path, f"{prefix}{suffix}").assert_values(small())


@each_format
def test_the_folder_of_a_saver_names_its_latest_checkpoint(tmp_path, version):
  write_checkpoint(tmp_path / "tf1", small(), version)
  (tmp_path / "run").mkdir()  # an empty folder may be there
  Import(tmp_path, tmp_path / "tf1").assert_values(small())


def test_an_imported_network_begins_another_run(tmp_path):
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", {**small(), "global_step": np.int64(70)}))
  init = training.find_init(done.folder.path)
  network = networks.build("mlp_4", (28, 28, 1), 3, seed=9)
  training.initialise(network, init)
  assert init.checkpoint == 70
  for ours, theirs in zip(network.variables, done.network.variables):
    np.testing.assert_array_equal(ours, theirs)
  with pytest.raises(InputError, match="`init_from`"):
    RunFolder.create(done.folder.path)


# ------------------------------------------------------------------- variables that do not match


FIRST, BIAS = "main_encoder/w1/DW", "main_encoder/b11/biases"
CHANGES = {
  "missing": ({BIAS: None}, ["1 in the network but not in the checkpoint: b11/biases."], ["b11/biases"]),
  "surplus": (
    {"main_encoder/extra/DW": np.ones(3, np.float32)},
    ["1 in the checkpoint but not in the network: main_encoder/extra/DW."],
    [],
  ),
  "reshaped": (
    {BIAS: np.ones(5, np.float32)},
    ["1 of other shapes: b11/biases ((5,), expected (4,))."],
    ["b11/biases"],
  ),
  "renamed": (
    {BIAS: None, "main_encoder/b12/biases": np.ones(4, np.float32)},
    ["network but not in the checkpoint: b11/biases.", "not in the network: main_encoder/b12/biases."],
    ["b11/biases"],
  ),
  "slot of nothing": (
    {"main_encoder/elsewhere/Adam": np.ones(4, np.float32)},
    ["not in the network: main_encoder/elsewhere/Adam."],
    [],
  ),
}
each_change = pytest.mark.parametrize("changes, said, fresh", CHANGES.values(), ids=list(CHANGES))


def changed(changes):
  return {name: value for name, value in {**small(), **changes}.items() if value is not None}


@each_change
def test_variables_that_do_not_match_are_named(tmp_path, changes, said, fresh):
  told = refused(tmp_path, write_checkpoint(tmp_path / "tf1", changed(changes)), "does not match mlp_4 completely")
  for words in said:
    assert words in told


@each_change
def test_a_partial_import_keeps_fresh_weights_and_lists_them(tmp_path, changes, said, fresh):
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", changed(changes)), allow_partial=True)
  for words in said:
    assert words in done.lines[0]
  assert done.record["missing"] == fresh
  start = tf1_names(networks.build("mlp_4", (28, 28, 1), 3))
  expected = {**small(), **{SCOPE + name: start[name].numpy() for name in fresh}}
  done.assert_values(expected)


@pytest.mark.parametrize(
  "written, asked, dataset, shape, match",
  [
    ("mlp_4", "mlp_8", "mnist", (28, 28, 1), "does not match mlp_8"),
    ("lenet_1", "mlp_4", "mnist", (28, 28, 1), "does not match mlp_4"),
    ("mlp_4", "lenet_1", "mnist", (28, 28, 1), "does not match lenet_1"),
    ("wrn_8_1", "wrn_14_1", "cifar10", (32, 32, 3), "does not match wrn_14_1"),
    ("wrn_8_1", "resnet_50_1", "cifar10", (32, 32, 3), "does not match resnet_50_1"),
    ("mlp_4", "wrn_8_1", "cifar10", (32, 32, 3), "by logit/biases or logit/DW, the last layer of wrn_8_1"),
    ("wrn_8_1", "mlp_4", "cifar10", (32, 32, 3), "by fcb2/biases or fcw2/DW, the last layer of mlp_4"),
    ("mlp_4", "mlp_4", "cifar10", (28, 28, 1), "does not match mlp_4"),
    ("mlp_4", "convnet_1", "cifar10", (32, 32, 3), "names of network 'convnet_1' are not known"),
    ("mlp_4", "mpl", "mnist", (28, 28, 1), "names of network 'mpl' are not known"),
  ],
  ids=str,
)
def test_a_checkpoint_of_another_network_is_refused(tmp_path, written, asked, dataset, shape, match):
  checkpoint = write_checkpoint(tmp_path / "tf1", small(written, shape=shape))
  refused(tmp_path, checkpoint, match, asked, dataset)


def test_long_lists_are_cut_short(tmp_path):
  variables = {**small(), **{f"main_encoder/extra_{i:02}": np.float32(0) for i in range(20)}}
  told = refused(tmp_path, write_checkpoint(tmp_path / "tf1", variables), "completely")
  assert "extra_11, and 8 more." in told
  assert "extra_12" not in told


# ------------------------------------------------------------------- damage


def truncate(path, count):
  path.write_bytes(path.read_bytes()[:count])


def flip(path, position):
  content = bytearray(path.read_bytes())
  content[position] ^= 255
  path.write_bytes(content)


def to_pipe(path):
  path.unlink()
  os.mkfifo(path)


def sparse(path):
  """Bytes that are nowhere on the disk."""
  os.truncate(path, 1 << 40)


DAMAGES = {
  "an index that is a named pipe": (V2, "index", to_pipe, "index: refused .a named pipe"),
  "data that is a named pipe": (V2, "data-00000-of-00001", to_pipe, "00001: refused .a named pipe"),
  "data with holes": (V2, "data-00000-of-00001", sparse, "00001: refused .holds 1.1 TB in"),
  "V1 that is a named pipe": (V1, "", to_pipe, "refused .a named pipe"),
  "data cut in half": (V2, "data-00000-of-00001", lambda path: truncate(path, path.stat().st_size // 2), "be read"),
  "data short of a byte": (V2, "data-00000-of-00001", lambda path: truncate(path, -1), "cannot be read"),
  "data empty": (V2, "data-00000-of-00001", lambda path: truncate(path, 0), "cannot be read"),
  "a byte of the data flipped": (V2, "data-00000-of-00001", lambda path: flip(path, 99), "cannot be read"),
  "no data": (V2, "data-00000-of-00001", lambda path: path.unlink(), "cannot be read|damaged"),
  "index cut in half": (V2, "index", lambda path: truncate(path, path.stat().st_size // 2), "no TensorFlow checkpoint"),
  "index empty": (V2, "index", lambda path: truncate(path, 0), "no TensorFlow checkpoint"),
  "no index": (V2, "index", lambda path: path.unlink(), "no TensorFlow checkpoint"),
  "V1 cut in half": (V1, "", lambda path: truncate(path, path.stat().st_size // 2), "no TensorFlow checkpoint"),
  "V1 empty": (V1, "", lambda path: truncate(path, 0), "no TensorFlow checkpoint"),
  "a byte of V1 flipped": (V1, "", lambda path: flip(path, 99), "cannot be read|damaged"),
  "text": (V1, "", lambda path: path.write_text("<html>404</html>" * 99), "no TensorFlow checkpoint"),
}


def test_variables_that_are_larger_than_their_files_are_refused(tmp_path):
  """A row of a matrix of 256 GB, as a part of a variable is saved."""
  (tmp_path / "tf1").mkdir()
  prefix = tmp_path / "tf1" / "checkpoint-70"
  whole = "1000000000 64 0,1:0,64"
  row = tf.zeros([1, 64])
  tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=["a/weights"], shape_and_slices=[whole], tensors=[row])
  refused(tmp_path, prefix, "checkpoint-70: refused .holds 256 GB in .*`max_unpacked_gb=256`")


@pytest.mark.parametrize("classes", [0, 1])
def test_a_last_layer_of_no_classes_is_refused(tmp_path, classes):
  changes = {f"main_encoder/{name}": np.zeros(classes, np.float32) for name in last_layer("mlp_4")}
  refused(tmp_path, write_checkpoint(tmp_path / "tf1", changed(changes)), "does not tell the number of classes")


@pytest.mark.parametrize("version, suffix, damage, match", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_checkpoint_is_refused(tmp_path, version, suffix, damage, match):
  prefix = write_checkpoint(tmp_path / "tf1", small(), version)
  damage(prefix.with_name(f"{prefix.name}.{suffix}") if suffix else prefix)
  refused(tmp_path, prefix, match)


@pytest.mark.parametrize(
  "name, value", [(FIRST, np.nan), (BIAS, np.inf), ("main_encoder/BatchNorm/moving_variance", -np.inf)]
)
def test_values_that_are_not_finite_are_refused(tmp_path, name, value):
  variables = small()
  variables[name].flat[-1] = value
  refused(tmp_path, write_checkpoint(tmp_path / "tf1", variables), f"variable {name} .* not finite")


def test_values_that_are_no_numbers_are_refused(tmp_path):
  variables = {**small(), BIAS: np.zeros(4, bool)}
  refused(tmp_path, write_checkpoint(tmp_path / "tf1", variables), f"variable {BIAS} .* not finite numbers")


def test_other_precisions_are_read(tmp_path):
  variables = {name: value.astype(np.float64) for name, value in small().items()}
  done = Import(tmp_path, write_checkpoint(tmp_path / "tf1", variables))
  done.assert_values(small())
  assert {v.dtype for v in done.network.variables} == {"float32"}


def test_a_checkpoint_of_tensorflow_2_is_refused(tmp_path):
  network = networks.build("mlp_4", (28, 28, 1), 3)
  CheckpointStore(tmp_path / "checkpoints").save(5, {"network": network}, {})
  prefix = tmp_path / "checkpoints" / "step_000000005" / "state"
  refused(tmp_path, prefix, "object-based checkpoint of TensorFlow 2")


def test_no_checkpoint_there(tmp_path):
  refused(tmp_path, tmp_path / "checkpoint-70", "no TensorFlow checkpoint, or a damaged one .* prefix")
  (tmp_path / "empty").mkdir()
  refused(tmp_path, tmp_path / "empty", "holds no file .checkpoint.")
  (tmp_path / "empty" / "checkpoint").write_text('model_checkpoint_path: "/home/authors/checkpoint-70"\n')
  refused(tmp_path, tmp_path / "empty", "prefix")


def test_an_output_folder_in_use_is_left_alone(tmp_path):
  checkpoint = write_checkpoint(tmp_path / "tf1", small())
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "thesis.tex").write_text("mine")
  refused(tmp_path, checkpoint, "exists already")
  (tmp_path / "run" / "thesis.tex").unlink()
  (tmp_path / "run").rmdir()
  (tmp_path / "run").write_text("a file")
  refused(tmp_path, checkpoint, "exists already")
  assert (tmp_path / "run").read_text() == "a file"


def test_a_failed_writer_leaves_nothing(tmp_path, monkeypatch):
  def full(*args):
    raise OSError(28, "No space left on device")

  checkpoint = write_checkpoint(tmp_path / "tf1", small())
  monkeypatch.setattr(CheckpointStore, "save", full)
  refused(tmp_path, checkpoint, "No space left")


@each_format
def test_the_reader_names_every_variable(tmp_path, version):
  checkpoint = Tf1Checkpoint(write_checkpoint(tmp_path / "tf1", small(), version))
  assert checkpoint.shapes == {name: value.shape for name, value in small().items()}
  for name, value in small().items():
    np.testing.assert_array_equal(checkpoint.read(name), value)


# ------------------------------------------------------------------- console scripts


def test_import_and_export_on_the_command_line(tmp_path):
  variables = small("mlp_16", classes=10)
  checkpoint = write_checkpoint(tmp_path / "tf1", {**variables, "global_step": np.int64(70)})
  run_dir = tmp_path / "run"
  printed = cli.run_well("tla-import-tf1", f"--checkpoint={checkpoint}", "--network=mlp_16", f"--output_dir={run_dir}")
  for words in ("20 variables match", f"run folder   {run_dir}", f"tla-evaluate --run_dir={run_dir} --data_dir=DIR"):
    assert words in printed
  cli.run_well("tla-export", f"--run_dir={run_dir}")
  images = golden.inputs()["A"]
  exported, network = tf.saved_model.load(str(run_dir / "saved_model")), load_network(RunFolder.open(run_dir), 70)
  golden.assert_close(exported.serve(images)["logits"], network(images)["logits"], EXPORT, "mlp_16 exported")
  before = cli.contents(run_dir)
  cli.assert_refused(cli.run("tla-train-digits", *cli.SMALL, f"--output_dir={run_dir}"), "imported", "--init_from")
  refused = cli.run("tla-evaluate", f"--run_dir={run_dir}", "--split=held_out")
  cli.assert_refused(refused, "--split=held_out", "imported")
  assert cli.contents(run_dir) == before


@pytest.mark.parametrize(
  "flag, words",
  [
    ("--network=vgg", ["vgg", "mlp, lenet, resnet_50 or wrn_32_10"]),
    ("--dataset=svhn", ["dataset", "mnist|cifar10"]),
    ("--image_size=large", ["image_size", "64x48"]),
  ],
)
def test_wrong_flags(tmp_path, flag, words):
  flags = ("--checkpoint=checkpoint-70", "--network=mlp", f"--output_dir={tmp_path / 'run'}", flag)
  cli.assert_refused(cli.run("tla-import-tf1", *flags), *words)
  assert not list(tmp_path.iterdir())
