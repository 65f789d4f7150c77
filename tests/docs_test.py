"""The code in docs/ runs, and the commands and flags that it names exist."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from tla_tf import networks
from tla_tf.detection import Detector, GraphDetector, fit_gaussians
from tla_tf.evaluation import read_suite
from tla_tf.persistence import export_saved_model

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SOURCES = "".join(path.read_text() for path in (ROOT / "tla_tf" / "binaries").glob("*.py"))


def test_the_example_of_own_networks_runs_on_image_folders(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  for part, count in (("train", 25), ("test", 10)):
    for i, name in enumerate(("cats", "dogs")):
      folder = tmp_path / "images" / part / name
      folder.mkdir(parents=True)
      for j in range(count):
        Image.fromarray(np.full((70, 90, 3), 100 * i + j, np.uint8)).save(folder / f"{j}.png")
  (block,) = re.findall(r"```python\n(.*?)```", PAGES["own_networks.md"], re.DOTALL)
  exec(compile(block.replace('"DIR"', repr(str(tmp_path / "images"))), "own_networks.md", "exec"), {})
  assert "robust_accuracy" in capsys.readouterr().out


def test_the_example_of_evaluation_runs(capsys):
  (block,) = re.findall(r"```python\n(.*?)```", PAGES["evaluation.md"], re.DOTALL)
  exec(compile(block, "evaluation.md", "exec"), {})
  assert "median change" in capsys.readouterr().out


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
  export_saved_model(network, (8, 8, 1), tmp_path / "served", GraphDetector(detector))
  np.save(tmp_path / "images.npy", images)
  names = {}
  blocks = re.findall(r"```python\n(.*?)```", PAGES["serving.md"], re.DOTALL)
  assert len(blocks) == 3
  for block in blocks:
    for name in ("served", "images.npy"):
      block = block.replace(f'"{name}"', repr(str(tmp_path / name)))
    exec(compile(block, "serving.md", "exec"), names)
  assert "20 of 40 images are suspicious" in capsys.readouterr().out
  answers = [names["classify"](image) for image in images]
  assert answers.count(None) == 20
  assert {answer for answer in answers if answer is not None} <= {0, 1, 2}


def test_the_list_of_attacks_in_evaluation_is_read(tmp_path):
  (block,) = re.findall(r"```yaml\n(.*?)```", PAGES["evaluation.md"], re.DOTALL)
  (tmp_path / "mine.yaml").write_text(block)
  assert [attack.name for attack in read_suite(tmp_path / "mine.yaml", "cifar10")] == [
    "PGD-200",
    "apgd",
    "carlini_wagner",
    "square",
  ]


@pytest.mark.parametrize("page", PAGES)
def test_named_tools_and_flags_exist(page):
  scripts = set(re.findall(r'"(tla-[a-z0-9-]+) = ', (ROOT / "setup.py").read_text()))
  named = set(re.findall(r"\b(tla-(?:train|import|evaluate|export|analyze|report)[a-z0-9-]+)\b", PAGES[page]))
  assert named <= scripts | {"tla-train-"}
  for flag in set(re.findall(r"--([a-z_0-9]{3,})", PAGES[page])) - {"logdir", "flagfile", "help", "repeats", "tiny"}:
    assert f'"{flag.removeprefix("no")}"' in SOURCES or f'"{flag}"' in SOURCES, flag
  for path in re.findall(r"(?:^|[ `])((?:flags|benchmarks|docs)/[\w.]+\.\w+)", PAGES[page]):
    assert (ROOT / path).is_file(), path
