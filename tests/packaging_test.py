"""What an installed package holds: flag files, types, metadata; and presets from anywhere."""

import email
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml

import tla_tf
from tla_tf.persistence import versions as versions_module

ROOT = pathlib.Path(__file__).parent.parent
# The tool that trains on MNIST, but for the training.
TOOL = """
import sys
sys.argv[0] = "tla-train-mnist"
from absl import flags
from tla_tf.binaries import train
def main(argv):
  print(flags.FLAGS.preset, flags.FLAGS.network, flags.FLAGS.epsilon, flags.FLAGS.train_steps, flags.FLAGS.margin)
train.main = main
main.__module__ = train.__name__
train.run()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The wheel of this tree."""
  source = tmp_path_factory.mktemp("source")
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  for name in ("tla_tf", "flags"):
    shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
  done = subprocess.run(
    [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", source / "dist"],
    cwd=source,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  (path,) = (source / "dist").glob("*.whl")
  return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
  """A folder with the wheel's packages."""
  folder = tmp_path_factory.mktemp("site")
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
  return folder


def python(code, *arguments, path, cwd):
  """Runs code with the packages of a folder, from another folder."""
  environment = {**os.environ, "PYTHONPATH": str(path)}
  return subprocess.run(
    [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
  )


def test_the_wheel_holds_all_modules_flag_files_plans_and_the_mark_of_types(wheel):
  names = set(zipfile.ZipFile(wheel).namelist())
  modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tla_tf").rglob("*.py")}
  presets = {f"tla_tf/flags/{path.name}" for path in (ROOT / "flags").iterdir()}
  assert len(modules) > 50 and len(presets) > 20
  plans = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tla_tf").rglob("*.yaml")}
  assert "tla_tf/reproducing/paper.yaml" in plans
  assert modules | presets | plans | {"tla_tf/py.typed"} == {name for name in names if name.startswith("tla_tf/")}


def test_the_metadata_is_complete(wheel):
  with zipfile.ZipFile(wheel) as archive:
    about = email.message_from_bytes(archive.read(f"tla_tf-{tla_tf.__version__}.dist-info/METADATA"))
  assert (about["Name"].replace("-", "_"), about["Version"]) == ("tla_tf", tla_tf.__version__)
  assert about["Summary"] and about["Keywords"] and about["Author"]
  assert "Apache-2.0" in (about["License"], about["License-Expression"])
  assert about.get_all("License-File") == ["LICENSE"]
  assert about.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/1909.00900"]
  assert set(about.get_all("Provides-Extra")) == {"crosscheck", "dev", "docs", "gpu", "onnx"}
  assert "Typing :: Typed" in about.get_all("Classifier")


@pytest.mark.parametrize("place", ["wheel", "checkout"])
def test_a_preset_is_found_from_anywhere_and_other_flags_win(request, tmp_path, place):
  path = request.getfixturevalue("installed") if place == "wheel" else ROOT
  arguments = ["--train_steps=7", "--preset=mnist_mlp", "--margin=0.5", f"--output_dir={tmp_path / 'run'}"]
  done = python(TOOL, *arguments, path=path, cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == ["mnist_mlp", "mlp", "0.3", "7", "0.5"]


@pytest.mark.parametrize(
  "name, words",
  [("mnist_mpl", "did you mean mnist_mlp or mnist_lenet or mnist_mlp_fast?"), ("cifar10_at", "another data set")],
)
def test_another_preset_ends_with_one_sentence(tmp_path, name, words):
  done = python(TOOL, f"--preset={name}", f"--output_dir={tmp_path / 'run'}", path=ROOT, cwd=tmp_path)
  assert (done.returncode, done.stdout) == (1, "")
  assert done.stderr.startswith(f"tla-train-mnist: error: --preset={name}: ") and words in done.stderr
  assert done.stderr.count("\n") == 1


def test_the_help_names_the_presets(tmp_path):
  done = python(TOOL, "--help", path=ROOT, cwd=tmp_path)
  assert "--preset" in done.stdout and "mnist_lenet" in done.stdout and "cifar10_at" not in done.stdout


def test_versions_need_no_metadata_of_a_package(monkeypatch):
  def unknown(name):
    raise versions_module.importlib.metadata.PackageNotFoundError(name)

  usual = versions_module.versions()
  monkeypatch.setattr(versions_module.importlib.metadata, "version", unknown)
  assert versions_module.versions() == usual
  assert list(usual) == ["tla_tf", "tensorflow", "keras", "numpy"] and usual["tla_tf"] == tla_tf.__version__
  assert json.loads(json.dumps(usual)) == usual


def test_the_citation_and_the_changes_are_of_this_version():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
  assert (citation["cff-version"], citation["version"]) == ("1.2.0", tla_tf.__version__)
  paper = citation["preferred-citation"]
  assert paper["year"] == 2019
  names = [author["family-names"] for author in paper["authors"]]
  assert names == ["Mao", "Zhong", "Yang", "Vondrick", "Ray"]
  headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
  assert headings[:2] == ["Unreleased", tla_tf.__version__]


def numbers(version):
  """The numbers of a version: (3, 10) of "3.10"."""
  return tuple(int(number) for number in version.split("."))


def pins(name):
  """Dict from package to version of a file of pins."""
  lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
  return dict(line.lower().replace("_", "-").split("==") for line in lines if not line.startswith("#"))


def test_the_versions_at_both_ends_are_those_that_are_tested(wheel):
  """What `make test-oldest` and `make test-newest` install, against the bounds of the package."""
  with zipfile.ZipFile(wheel) as archive:
    about = email.message_from_bytes(archive.read(f"tla_tf-{tla_tf.__version__}.dist-info/METADATA"))
  oldest, newest = pins("oldest"), pins("newest")
  required = [line for line in about.get_all("Requires-Dist") if "extra ==" not in line]
  assert len(required) > 10 and set(oldest) == set(newest)
  for line in required:
    name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
    bounds = dict(re.findall(r"(>=|<)([\d.]+)", line))
    first = numbers(bounds.get(">=", "0"))
    assert not any(first) or numbers(oldest[name])[: len(first)] == first, line
    assert numbers(newest[name]) >= first, line
    assert ("<" in bounds) == (name in ("tensorflow", "keras")), line
    if "<" in bounds:
      major, minor, *_ = numbers(newest[name])
      assert numbers(bounds["<"]) == (major, minor + 1), line


def test_every_python_from_the_oldest_to_the_newest_is_named(wheel):
  with zipfile.ZipFile(wheel) as archive:
    about = email.message_from_bytes(archive.read(f"tla_tf-{tla_tf.__version__}.dist-info/METADATA"))
  makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
  oldest, newest = (
    int(re.search(rf"^{end}_PYTHON \?= python3\.(\d+)$", makefile, re.M)[1]) for end in ("OLDEST", "NEWEST")
  )
  assert set(about["Requires-Python"].split(",")) == {f">=3.{oldest}", f"<3.{newest + 1}"}
  classifiers = [c for c in about.get_all("Classifier") if re.search(r":: 3\.\d+$", c)]
  assert classifiers == [f"Programming Language :: Python :: 3.{minor}" for minor in range(oldest, newest + 1)]
