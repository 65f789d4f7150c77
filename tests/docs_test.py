"""The code in docs/ runs, and the commands and flags that it names exist."""

import ast
import pathlib
import re

import keras
import numpy as np
import pytest
from PIL import Image

from tla_tf import networks, settings
from tla_tf.detection import Detector, GraphDetector, fit_gaussians
from tla_tf.evaluation import read_suite
from tla_tf.persistence import CheckpointStore, export_saved_model

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SOURCES = "".join(path.read_text() for path in (ROOT / "tla_tf" / "binaries").glob("*.py"))
# Written down, or derived from settings.
FLAGS = {
  *re.findall(r'"([a-z_0-9]+)"', SOURCES),
  *(
    flag
    for folder in ("benchmarks", "tests/campaigns")
    for path in (ROOT / folder).glob("*.py")
    for flag in re.findall(r'"--([a-z_0-9]+)"', path.read_text())
  ),
  *settings.flag_of_path().values(),
}


def _small_base(input_shape, **settings):
  """A network with convolutions and Keras's normalisation, as those of Keras Applications have, but not 150 layers."""
  assert settings == {"alpha": 0.35, "include_top": False, "pooling": "avg", "weights": None}
  convolution, normalised = keras.layers.Conv2D(4, 3, strides=4), keras.layers.BatchNormalization()
  return keras.Sequential([keras.Input(input_shape), convolution, normalised, keras.layers.GlobalAveragePooling2D()])


def test_the_examples_of_own_networks_run(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  # `colour_networks_test` has the real one.
  monkeypatch.setattr(keras.applications, "MobileNetV2", _small_base)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  for part, count in (("train", 25), ("test", 10)):
    for i, name in enumerate(("cats", "dogs")):
      folder = tmp_path / "images" / part / name
      folder.mkdir(parents=True)
      for j in range(count):
        Image.fromarray(np.full((70, 90, 3), 100 * i + j, np.uint8)).save(folder / f"{j}.png")
  names = {}
  blocks = re.findall(r"```python\n(.*?)```", PAGES["own_networks.md"], re.DOTALL)
  assert len(blocks) == 2
  for block in blocks:
    exec(compile(block.replace('"DIR"', repr(str(tmp_path / "images"))), "own_networks.md", "exec"), names)
  assert "robust_accuracy" in capsys.readouterr().out
  assert int(names["loaded"].optimizer.iterations) == 16


def test_the_example_of_evaluation_runs(capsys, without_xla):
  names: dict = {}
  for block in re.findall(r"```python\n(.*?)```", PAGES["evaluation.md"], re.DOTALL):
    exec(compile(block, "evaluation.md", "exec"), names)
  printed = capsys.readouterr().out
  assert "20xPGD-40 0.2" in printed and "median change" in printed
  assert "My classifier returns probabilities" in printed and "PROBABILITIES_GIVEN" in printed


def test_the_examples_of_fit_run(capsys, without_xla):
  scope: dict = {}
  for block in re.findall(r"```python\n(.*?)```", PAGES["keras.md"], re.DOTALL):
    exec(compile(block, "keras.md", "exec"), scope)
  history, refusal, found = capsys.readouterr().out.splitlines()
  assert {"val_robust_accuracy", "val_top3"} <= set(ast.literal_eval(history))
  # The page prints it.
  assert f"print(error)  # {refusal}\n" in PAGES["keras.md"]
  assert "robust_loss" in found


def test_the_example_of_analysis_runs(capsys):
  (block,) = re.findall(r"```python\n(.*?)```", PAGES["analysis.md"], re.DOTALL)
  exec(compile(block, "analysis.md", "exec"), {})
  printed = capsys.readouterr().out
  assert re.fullmatch(r"ratio [\d.]+\nkNN [\d.]+\nAUC [\d.]+\npoints \(30, 2\)\n", printed), printed


def test_the_examples_of_serving_run(tmp_path, capsys):
  network, images = networks.build("mlp_16", (8, 8, 1), 3), np.random.default_rng(0).random((40, 8, 8, 1), np.float32)
  embeddings = network(images)["embedding"].numpy()
  gaussians = fit_gaussians(embeddings, np.arange(40) % 3, 3)
  detector = Detector(gaussians, float(np.median(gaussians.log_densities(embeddings).max(1))))
  names = ("pear", "apple", "fig")
  export_saved_model(network, (8, 8, 1), tmp_path / "served", GraphDetector(detector), class_names=names)
  np.save(tmp_path / "images.npy", images)
  names = {}
  blocks = re.findall(r"```python\n(.*?)```", PAGES["serving.md"], re.DOTALL)
  assert len(blocks) == 5
  for block in blocks:
    for name in ("served", "images.npy"):
      block = block.replace(f'"{name}"', repr(str(tmp_path / name)))
    exec(compile(block, "serving.md", "exec"), names)
  printed = capsys.readouterr().out
  assert "20 of 40 images are suspicious" in printed and "TFLite [" in printed
  assert re.search(r"\['(pear|apple|fig)', ", printed)
  answers = [names["classify"](image) for image in images]
  assert answers.count(None) == 20
  assert {answer for answer in answers if answer is not None} <= {0, 1, 2}


def test_the_examples_of_the_library_run_one_after_the_other(tmp_path, monkeypatch, capsys, without_xla):
  monkeypatch.chdir(tmp_path)
  blocks, names = re.findall(r"```python\n(.*?)```", PAGES["library.md"], re.DOTALL), {}
  assert len(blocks) == 6
  for block in blocks:
    exec(compile(block, "library.md", "exec"), names)
  printed = capsys.readouterr().out
  for words in (
    r"um clean [\d.]+% worst case [\d.]+%",
    r"FGSM 0\.\d+",
    r"withstood all attacks: \d+ of 50",
    r"at r \{'0\.05': [\d.]+, '0\.2': [\d.]+\} AUC 0\.\d+",
    r"runs/report.html runs/at/saved_model serve embed detect",
    r"`num_examples=1000000`: digits has only 360 test images",
  ):
    assert re.search(words, printed), (words, printed)
  for name in ("evaluation.json", "analysis.md", "detector.npz", "figures/roc.png", "saved_model/saved_model.pb"):
    assert (tmp_path / "runs" / "at" / name).is_file(), name
  best = CheckpointStore(tmp_path / "runs" / "at" / "checkpoints")
  assert names["model"].step == best.resolve("best") and names["records"]["at"].checkpoint == names["model"].step


def test_the_list_of_attacks_in_evaluation_is_read(tmp_path):
  (block,) = re.findall(r"```yaml\n(.*?)```", PAGES["evaluation.md"], re.DOTALL)
  (tmp_path / "mine.yaml").write_text(block)
  assert [attack.name for attack in read_suite(tmp_path / "mine.yaml", "cifar10")] == [
    "PGD-200",
    "apgd",
    "carlini_wagner",
    "square",
  ]


def test_the_lists_of_attacks_of_the_benchmarks_are_read():
  lists = list((ROOT / "benchmarks" / "suites").glob("*.yaml"))
  assert lists and all(read_suite(path, "mnist") for path in lists)


@pytest.mark.parametrize("page", PAGES)
def test_named_tools_and_flags_exist(page):
  scripts = set(re.findall(r'"(tla-[a-z0-9-]+) = ', (ROOT / "setup.py").read_text()))
  named = set(
    re.findall(r"\b(tla-(?:train|import|evaluate|export|analyze|report|compare|reproduce)[a-z0-9-]+)\b", PAGES[page])
  )
  assert named <= scripts | {"tla-train-"}
  for flag in set(re.findall(r"--([a-z_0-9]{3,})", PAGES[page])) - {"logdir", "flagfile", "help"}:
    assert {flag, flag.removeprefix("no")} & FLAGS, flag
  for path in re.findall(r"(?:^|[ `])((?:flags|benchmarks|docs)/[\w.]+\.\w+)", PAGES[page]):
    assert (ROOT / path).is_file(), path


TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
LINKING = [*(ROOT / name for name in TOP), *sorted(ROOT.glob("docs/*.md"))]


def _prose(page):
  """A page without its code."""
  return re.sub(r"^```.*?^```|`[^`\n]*`", "`", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _anchors(page):
  """What headings of a page are called in links, as GitHub and mkdocs form them."""
  headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
  return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
    if not re.match(r"https?://", target):
      path, _, anchor = target.partition("#")
      found = (page.parent / path).resolve() if path else page
      assert found.is_file(), target
      assert not anchor or anchor in _anchors(found), target


def test_every_page_is_in_a_menu_of_the_site_and_linked_from_the_contents():
  source = (ROOT / "docs" / "build_site.py").read_text()
  contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
  for page in sorted(set(PAGES) - {"README.md"}):
    assert f'"{page.removesuffix(".md")}"' in source or f'"docs/{page}"' in source, page
    assert f"]({page})" in contents, page
