"""Flag files: each says what it reproduces, holds the published setting, and is found by its name."""

import enum
import pathlib
import re

import pytest

from tla_tf import published, settings
from tla_tf.binaries import presets
from tla_tf.errors import InputError
from tla_tf.settings import presets as shipped

FOLDER = pathlib.Path(__file__).parent.parent / "flags"
FILES = sorted(FOLDER.glob("*.flags"))
# What a file is there to change against its data set's setting.
CHANGES = {"negative_pool_size", "checkpoint_every"}
# What stands beside the published settings.
OURS = {"mnist_mlp_fast"}
each_file = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def dataset_of(path):
  return max((name for name in ("digits", "mnist", "cifar10", "tiny_imagenet") if path.stem.startswith(name)), key=len)


def given(path):
  """Flag -> text of a flag file."""
  lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
  flags = dict(re.fullmatch(r"--(\w+)=(\S+)", line).groups() for line in lines)
  assert len(flags) == len(lines)
  return flags


def as_text_of(value, text):
  """The value that a flag's text stands for, in the type of a setting."""
  if isinstance(value, tuple):
    return tuple((int(s), float(r)) for s, r in (pair.split(":") for pair in text.split(",")))
  if isinstance(value, bool):
    return {"true": True, "false": False}[text]
  if isinstance(value, (enum.Enum, str)):
    return type(value)(text)
  numerator, _, denominator = text.partition("/")
  return float(numerator) / float(denominator or 1)


def test_every_published_setting_has_a_file():
  names = {path.stem for path in FILES}
  for dataset in ("cifar10", "tiny_imagenet"):
    assert {f"{dataset}_{method}" for method in ("um", "at", "alp", "tla", "tla_rn", "tla_sa")} <= names
  assert {f"cifar10_pool_{size}" for size in (1, 250, 500, 1000, 2000)} <= names
  assert {f"cifar10_convnet_{method}" for method in ("um", "at", "alp", "tla")} <= names
  assert {"mnist_lenet", "mnist_mlp"} <= names


@each_file
def test_the_header_says_what_how_where_and_what_to_expect(path):
  header = [line for line in path.read_text().splitlines() if line.startswith("#")]
  for word in ("Reproduces:", "Command:", "Hardware:", "Expected"):
    assert any(line.startswith(f"# {word}") for line in header), word
  assert f"--preset={path.stem} " in "\n".join(header)
  for used in re.findall(r"preset[ =](\w+)", "\n".join(header)):
    assert (FOLDER / f"{used}.flags").is_file(), used


@pytest.mark.parametrize("path", [path for path in FILES if path.stem not in OURS], ids=lambda path: path.stem)
def test_the_values_are_the_published_ones(path):
  flags = given(path)
  tuned = "--init_from" in path.read_text()
  config = published.setting(dataset_of(path), flags.get("method", "tla"), flags["network"], fine_tuning=tuned)
  options = {**settings.recipe_options(), **settings.shared_options()}
  for flag, text in flags.items():
    if flag in CHANGES | {"method", "network"}:
      continue
    value = config
    for part in options[flag].path.split("."):
      value = getattr(value, part)
    assert as_text_of(value, text) == value, flag


def test_the_pools_of_table_2_have_their_sizes():
  for size in (250, 500, 1000, 2000):
    assert given(FOLDER / f"cifar10_pool_{size}.flags")["negative_pool_size"] == str(size)


def test_a_pool_of_1_is_a_random_negative_for_every_anchor():
  assert given(FOLDER / "cifar10_pool_1.flags") == given(FOLDER / "cifar10_tla_rn.flags")


@each_file
def test_every_file_is_a_preset_of_its_data_set(path):
  assert shipped.find(path.stem, dataset_of(path)) == path
  assert path.stem in shipped.names(dataset_of(path))


@pytest.mark.parametrize(
  "name, dataset, message",
  [
    (
      "mnist_mpl",
      "mnist",
      "`preset=mnist_mpl`: no such preset; did you mean mnist_mlp or mnist_lenet or mnist_mlp_fast?",
    ),
    ("", "mnist", "`preset=`: no such preset; there are mnist_lenet, mnist_mlp, mnist_mlp_fast."),
    ("../flags/mnist_mlp", "digits", "`preset=../flags/mnist_mlp`: no such preset; there are digits."),
    (
      "cifar10_at",
      "mnist",
      "`preset=cifar10_at`: is a setting of another data set than mnist; there are mnist_lenet, mnist_mlp, "
      "mnist_mlp_fast.",
    ),
    (
      "cifar10_tla_sa",
      "tiny_imagenet",
      "`preset=cifar10_tla_sa`: is a setting of another data set than tiny_imagenet; there are "
      "tiny_imagenet_alp, tiny_imagenet_at, tiny_imagenet_tla, tiny_imagenet_tla_rn, tiny_imagenet_tla_sa, "
      "tiny_imagenet_um.",
    ),
    (
      "digits",
      "images",
      "`preset=digits`: is a setting of another data set than images; there are none of the data set images.",
    ),
  ],
)
def test_another_name_is_refused_with_those_that_there_are(name, dataset, message):
  with pytest.raises(InputError) as refused:
    shipped.find(name, dataset)
  assert str(refused.value) == message


@pytest.mark.parametrize(
  "arguments",
  [["--preset=mnist_mlp"], ["-preset", "mnist_mlp"], ["--preset=lenet", "--margin=1", "--preset=mnist_mlp"]],
)
def test_a_preset_stands_before_all_other_flags(arguments):
  assert presets.expand(arguments, "mnist") == [f"--flagfile={FOLDER / 'mnist_mlp.flags'}", *arguments]


@pytest.mark.parametrize(
  "arguments", [[], ["--margin=1"], ["--", "--preset=mnist_mlp"], ["--no_preset=1"], ["--flagfile=nowhere"]]
)
def test_without_a_preset_flags_stay_as_they_are(arguments):
  assert presets.expand(arguments, "mnist") == arguments


def test_a_preset_within_a_file_of_ones_own_is_found(tmp_path):
  (tmp_path / "own.flags").write_text("# Mine.\n--preset=mnist_lenet\n--margin=1\n")
  arguments = [f"--flagfile={tmp_path / 'own.flags'}"]
  assert presets.expand(arguments, "mnist")[0].endswith("/mnist_lenet.flags")
