"""Every reader of files that may be damaged or a stranger's: what good files it has, and what it makes of them.

`READERS` lists them. A new reader of the package gets a line there.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import pickle
import re
import shutil
import typing
import zipfile

import numpy as np
from campaigns import mutations
from idx_support import idx_bytes, write
from PIL import Image
from suite_support import LIST_OF_ATTACKS

from tla_tf import files, records
from tla_tf.records import seals

_RUN = pathlib.Path(__file__).parent.parent / "fixtures" / "run_of_0_1"
_STEP = "checkpoints/step_000000020"
_KEY = "0123456789abcdef" * 4
_FACTS = {"part": "test", "sizes": [1, 2]}


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader.

  Attributes:
    name: of what it reads.
    make: writes good files into an empty folder.
    damaged: pattern of the files that are mutated, one at a time.
    mutate: what does so.
    read: reads the folder: plain data that can be compared, or InputError.
    sealed: whether the format has checksums: other data than those written are a fault then.
    seal: makes the checksums of a folder with a mutated file right, as a forger would: the reader is to refuse what
      does not fit, and may take the rest. None where there are none.
    weight: its share of the inputs.
    tensorflow: whether TensorFlow's libraries read.
    repeatable: whether the good files are the same bytes whenever they are made.
  """

  name: str
  make: typing.Callable[[pathlib.Path], object]
  damaged: str
  mutate: mutations.Mutator
  read: typing.Callable[[pathlib.Path], typing.Any]
  sealed: bool = True
  seal: typing.Callable[[pathlib.Path], object] | None = None
  weight: int = 3
  tensorflow: bool = False
  repeatable: bool = True


def same(first: typing.Any, second: typing.Any) -> bool:
  """Whether two values are equal to the bit, NaN to NaN."""
  if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
    first, second = np.asarray(first), np.asarray(second)
    return (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())
  if type(first) is not type(second):
    return False
  if isinstance(first, dict):
    return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
  if isinstance(first, (list, tuple)):
    return len(first) == len(second) and all(map(same, first, second))
  return first == second or (first != first and second != second)


# --------------------------------------------------------------------------- run folders


def _run(folder: pathlib.Path) -> None:
  """A run folder with all results, as this release writes them."""
  from tla_tf.detection import Detector
  from tla_tf.persistence import RunFolder
  from tla_tf.records.run import CheckpointRecord, FallbackRecord, RunRecord

  place = folder / "run"
  shutil.copytree(_RUN, place, copy_function=shutil.copyfile)
  run = RunFolder.open(place)
  metrics = run.read_metrics()
  for kind, name in (
    (RunRecord, "config.json"),
    *((CheckpointRecord, f"checkpoints/step_{step:09d}/meta.json") for step in (10, 20)),
    (records.AnalysisRecord, "analysis.json"),
  ):
    kind.read(place / name).write(place / name)
  (evaluation,) = records.EvaluationBook.read(run.evaluation).evaluations
  old = place / "evaluation_images.npz"
  digest = files.digest(old)
  run.evaluation_images.mkdir()
  old.rename(run.evaluation_images / f"{digest[:16]}.npz")
  records.EvaluationBook([evaluation.replace(images_digest=digest)]).write(run.evaluation)
  Detector.load(run.detector).save(run.detector)
  run.write_metrics(metrics)
  run.write_fallback(
    FallbackRecord(step=10, best_robust_accuracy=0.5, collapsed_at=20, robust_accuracy=0.1, training_accuracy=0.9)
  )


def _opened(folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence import RunFolder

  return RunFolder.open(folder / "run")


def _config(folder: pathlib.Path) -> typing.Any:
  return _opened(folder).record().to_dict()


def _meta(folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence import CheckpointStore

  store = CheckpointStore(folder / "run" / "checkpoints")
  return [store.resolve("best"), store.digest(20), store.record(20).to_dict()]


def _evaluation_images(folder: pathlib.Path) -> typing.Any:
  run = _opened(folder)
  (record,) = records.EvaluationBook.read(run.evaluation).evaluations
  assert record.images_digest is not None
  place = run.evaluation_images / f"{record.images_digest[:16]}.npz"
  return vars(records.EvaluationImages.read(place, record.images_digest))


def _analysis_arrays(folder: pathlib.Path) -> typing.Any:
  run = _opened(folder)
  record = records.AnalysisRecord.read(run.analysis)
  arrays = records.AnalysisArrays.read(run.analysis_arrays, record.arrays_digest)
  arrays.require_classes(len(record.class_names), run.analysis_arrays)
  return vars(arrays)


def _detector(folder: pathlib.Path) -> typing.Any:
  from tla_tf.detection import Detector

  found = Detector.load(folder / "run" / "detector.npz")
  return [found.score(np.ones((2, found.gaussians.means.shape[1]), np.float32)), records.plain(found.facts), found[1:3]]


def _report(folder: pathlib.Path) -> typing.Any:
  from tla_tf import reporting

  run = reporting.read_run("a", _opened(folder))
  return [
    *(run.settings, sorted(run.unused), run.metrics, [records.plain(one.last) for one in run.findings]),
    *(records.plain(run.analysis), vars(run.arrays), [records.plain(one.worst_case) for one in run.findings]),
  ]


def _network(folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence.loading import load_network

  network = load_network(_opened(folder), 20)
  return [variable.numpy() for variable in network.variables]


def _seal_json(name: str, folder: pathlib.Path) -> None:
  for path in folder.glob(name):
    path.write_text(json.dumps(seals.sealed(json.loads(path.read_text()))))


def _seal_metrics(folder: pathlib.Path) -> None:
  path = folder / "run" / "metrics.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  path.write_text("".join(json.dumps(seals.sealed_row(number, row)) + "\n" for number, row in enumerate(rows, 1)))


def _seal_meta(folder: pathlib.Path) -> None:
  place = folder / "run" / _STEP
  meta = json.loads((place / "meta.json").read_text())
  meta["files"] = {name: files.digest(place / name) for name in meta["files"]}
  (place / "meta.json").write_text(json.dumps(seals.sealed(meta)))


def _seal_arrays(folder: pathlib.Path) -> None:
  place = folder / "run" / "analysis.json"
  content = json.loads(place.read_text())
  content["arrays_digest"] = files.digest(folder / "run" / "analysis.npz")
  place.write_text(json.dumps(seals.sealed(content)))


def _seal_images(folder: pathlib.Path) -> None:
  (path,) = (folder / "run" / "evaluation_images").iterdir()
  digest = files.digest(path)
  path.rename(path.with_name(f"{digest[:16]}.npz"))
  place = folder / "run" / "evaluation.json"
  content = json.loads(place.read_text())
  content["evaluations"][0]["images_digest"] = digest
  place.write_text(json.dumps(seals.sealed(content)))


def _seal_detector(folder: pathlib.Path) -> None:
  from tla_tf.detection.detector import _ARRAYS, _digest

  path = folder / "run" / "detector.npz"
  with np.load(path, allow_pickle=False) as content:
    arrays = dict(content)
  about = json.loads(str(arrays.pop("about")))
  about["arrays_digest"] = _digest({name: arrays[name] for name in _ARRAYS if name in arrays})
  np.savez(path, about=np.array(json.dumps(seals.sealed(about))), **arrays)


# --------------------------------------------------------------------------- notes of other tools


def _notes(folder: pathlib.Path) -> None:
  """Records that lie elsewhere than in a run folder."""
  from tla_tf.comparing.records import BegunRecord, BudgetRecord, Choice, MeasuredStep, SelectionRecord
  from tla_tf.records.comparison import ComparedRun, ComparedVariant, ComparisonRecord, Measure, Quantity, RunState

  BudgetRecord({"at": MeasuredStep([(0, 0.25), (100, 0.5)], "abc", 2)}).write(folder / "budget.json")
  SelectionRecord({"g": Choice("at", {"at": {"1": 0.5}}, {"at": 0.5})}).write(folder / "selection.json")
  BegunRecord("a" * 64, None, ["b" * 64]).write(folder / "begun.json")
  quantity = Quantity(name="clean", num_examples=100)
  run = ComparedRun(
    variant="at",
    seed=1,
    folder="runs/at/1",
    state=RunState.JUDGED,
    steps=10,
    train_steps=10,
    checkpoint=10,
    checkpoint_digest="c" * 64,
    alarms=[],
    measures=[Measure(quantity=quantity, value=0.25, count=25, total=100, interval=(0.125, 0.5))],
  )
  variant = ComparedVariant(name="at", method="at", network="mlp", seeds=[1], finished=1, measures=[])
  ComparisonRecord(dataset="mnist", training_epsilon=0.3, variants=[variant], runs=[run]).write(
    folder / "comparison.json"
  )
  time = records.PoolTime(method="at", pool=0, mining_seconds=0.5, seconds=1.5, relative=1.0)
  shared = {"dataset": "mnist", "network": "mlp", "batch_size": 5, "attack_steps": 3, "attack_batch_size": 5}
  records.PoolTimes(**shared, machine="m", versions={"a": "1"}, rounds=3, at=time, pools=[time]).write(
    folder / "training_times.json"
  )


def _read_notes(folder: pathlib.Path) -> typing.Any:
  from tla_tf.comparing.records import BegunRecord, BudgetRecord, SelectionRecord
  from tla_tf.records.comparison import ComparisonRecord

  kinds = (
    (BudgetRecord, "budget"),
    (SelectionRecord, "selection"),
    (BegunRecord, "begun"),
    (ComparisonRecord, "comparison"),
    (records.PoolTimes, "training_times"),
  )
  return [kind.read(folder / f"{name}.json").to_dict() for kind, name in kinds]


def _measured(folder: pathlib.Path) -> typing.Any:
  """What is measured again where it is not as it was written: steps in two precisions, a part of a table."""
  from tla_tf.comparing.jobs import Job
  from tla_tf.config import TrainingConfig
  from tla_tf.reproducing.reproduce import Further
  from tla_tf.training.precision_choice import chosen_precision

  clock = [0.0]

  def make_step(config: typing.Any) -> typing.Callable[[], None]:
    def step() -> None:
      clock[0] += 0.5 if config.attack_precision == "bfloat16" else 1.0

    return step

  config = TrainingConfig(method="at", attack_precision="auto")
  lines: list[str] = []  # with the seconds that it is chosen by
  chosen = chosen_precision(config, (4, 4, 1), make_step, lines.append, folder, lambda: clock[0])
  facts = {"command": ["a", "b"], "checkpoints": ["c" * 64, None]}
  part = Further(Job("draw", ("a",), folder / "log"), folder / "part.png", facts)
  if not part.result.exists():
    part.result.write_bytes(b"")
    files.write_text(part.about, json.dumps(facts))
  try:
    noted = json.loads(part.about.read_text("utf-8"))
  except (ValueError, RecursionError):
    noted = None
  return [chosen.attack_precision.value, lines, part.is_done() == (noted == facts)]


def _journal(folder: pathlib.Path) -> typing.Any:
  from tla_tf.evaluation.journal import Journal

  with Journal(folder / "state", _FACTS).open() as journal:
    results: list[typing.Any] = [{"fell": [i, 3], "distance": [0.25 * i], "rejected": 0} for i in range(6)]
    return [journal.recall(["PGD", 0, i], functools.partial(_given, results[i])) for i in range(6)]


def _given(value: typing.Any) -> typing.Any:
  return value


def _seal_journal(folder: pathlib.Path) -> None:
  (path,) = (folder / "state").glob("*.jsonl")
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  path.write_text("".join(json.dumps([*line[:2], seals.digest(line[:2])]) + "\n" for line in lines))


def _make_kept(place: pathlib.Path) -> None:
  np.save(place / "images.npy", np.arange(6.0).reshape(2, 3))
  np.save(place / "labels.npy", np.array([4, 5]))


def _kept(folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence.kept_arrays import kept_arrays

  return {name: np.array(value) for name, value in kept_arrays(folder / "kept", _FACTS, _make_kept, "test-").items()}


def _cached(folder: pathlib.Path) -> typing.Any:
  from tla_tf.data import cache

  return {name: np.array(value) for name, value in cache.load(folder / "cache", _KEY, _make_kept).items()}


# --------------------------------------------------------------------------- plans and lists of attacks

_PLAN = """
dataset: mnist
preset: mnist_mlp
settings: {train_steps: 10000, attack_steps: 5, attack_step_size: 0.1}
seeds: [1, 2]
variants:
  at: {method: at}
  tla: &tla {method: tla, margin: 0.05}
  tuned: {method: tla, init_from: at}
grid: {of: [tla], triplet_weight: [0.5, 1]}
judge:
  - {suite: [table1], num_examples: 1000, epsilon: 3/10}
analyze: {weak_epsilon: 0.03}
"""


def _texts(folder: pathlib.Path) -> None:
  (folder / "plan.yaml").write_text(_PLAN)
  (folder / "suite.yaml").write_text(LIST_OF_ATTACKS)
  (folder / "suite.json").write_text(json.dumps([{"attack": "fgsm", "epsilon": "8/255"}, {"attack": "pgd"}], indent=1))


def _plan(folder: pathlib.Path) -> typing.Any:
  from tla_tf.comparing.plan import ComparisonPlan

  plan = ComparisonPlan.read(folder / "plan.yaml")
  return [[run.name, run.flags, run.config.to_dict()] for run in plan.runs("out", train_steps=None)]


def _suite(ending: str, folder: pathlib.Path) -> typing.Any:
  from tla_tf.evaluation.suites import read_suite

  return [[a.name, a.config.to_dict(), a.target.value, a.on_survivors] for a in read_suite(folder / ending, "mnist")]


# --------------------------------------------------------------------------- data sets


def _data(folder: pathlib.Path) -> None:
  rng = np.random.default_rng(0)
  for name in ("images", "images.gz"):
    write(folder / name, idx_bytes(np.random.default_rng(0).integers(0, 256, (20, 5, 4), np.uint8)))
  write(folder / "labels", idx_bytes(np.arange(20, dtype=np.uint8) % 10))
  names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
  for kind in ("binary", "python"):
    (folder / kind).mkdir()
    for name in names:
      pixels, labels = rng.integers(0, 256, (20, 3072), np.uint8), [i % 10 for i in range(20)]
      if kind == "binary":
        (folder / kind / f"{name}.bin").write_bytes(np.c_[np.array(labels, np.uint8), pixels].tobytes())
      else:
        content = {"data": pixels, "labels": labels, "batch_label": name}
        (folder / kind / name).write_bytes(pickle.dumps(content, protocol=2))
  arrays = {f"x_{part}": rng.integers(0, 256, (20, 4, 5, 1), np.uint8) for part in ("train", "test")}
  arrays |= {f"y_{part}": np.arange(20) % 3 for part in ("train", "test")}
  np.savez_compressed(folder / "mine.npz", **arrays, class_names=np.array(["a", "b", "c"]))


def _idx(folder: pathlib.Path) -> typing.Any:
  from tla_tf.data import idx

  return [idx.read_idx(folder / name, dimensions) for name, dimensions in (("images", 3), ("labels", 1))]


def _idx_gz(folder: pathlib.Path) -> typing.Any:
  from tla_tf.data import idx

  return idx.read_idx(folder / "images.gz", 3)


def _cifar10(kind: str, folder: pathlib.Path) -> typing.Any:
  from tla_tf.datasets import cifar10

  found = cifar10.load_cifar10(folder / kind, "files", heldout=2)
  return [[part.images, part.labels] for part in (found.train, found.heldout, found.test)]


def _npz(folder: pathlib.Path) -> typing.Any:
  from tla_tf.datasets import npz

  found = npz.load_npz(folder / "mine.npz")
  return [[part.images, part.labels, part.class_names] for part in (found.train, found.heldout, found.test)]


def _tiny_imagenet(folder: pathlib.Path) -> None:
  names = ["n01", "n02", "n03"]
  (folder / "wnids.txt").write_text("\n".join(names) + "\n")
  (folder / "val" / "images").mkdir(parents=True)
  lines = []
  for name in names:
    (folder / "train" / name / "images").mkdir(parents=True)
    for i in range(2):
      (folder / "train" / name / "images" / f"{name}_{i}.JPEG").write_bytes(b"")
    (folder / "val" / "images" / f"val_{name}.JPEG").write_bytes(b"")
    lines.append(f"val_{name}.JPEG\t{name}\t0\t0\t62\t62\n")
  (folder / "val" / "val_annotations.txt").write_text("".join(lines))


def _tiny_imagenet_files(folder: pathlib.Path) -> typing.Any:
  from tla_tf.data import tiny_imagenet_files

  names, *parts = tiny_imagenet_files.list_files(folder)
  return [names, [[list(map(str, part.paths)), list(part.labels)] for part in parts]]


def _images(folder: pathlib.Path) -> None:
  pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
  image = Image.fromarray(pixels)
  for ending, options in (("png", {}), ("jpg", {}), ("bmp", {}), ("gif", {}), ("webp", {"lossless": True})):
    image.save(folder / f"image.{ending}", **options)
  image.save(folder / "image.progressive.jpg", progressive=True)
  Image.fromarray(pixels.astype(np.uint16)[..., 0] * 200).save(folder / "grey.png")


def _image(folder: pathlib.Path) -> typing.Any:
  from tla_tf.data import decoding

  return [decoding.read_image(path, (24, 20)) for path in sorted(folder.iterdir())]


# --------------------------------------------------------------------------- models

_SHAPE = (8, 8, 1)


def _pixels() -> np.ndarray:
  return np.linspace(0, 1, 4 * 64, dtype=np.float32).reshape(4, *_SHAPE)


def _keras_file(folder: pathlib.Path) -> None:
  import keras

  inputs = keras.Input(_SHAPE, name="images")
  hidden = keras.layers.Dense(6, "relu", name="hidden")(keras.layers.Flatten(name="flat")(inputs))
  model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(hidden), name="model")
  rng = np.random.default_rng(0)
  model.set_weights([rng.uniform(-1, 1, weights.shape) for weights in model.get_weights()])
  model.save(folder / "model.keras")
  with zipfile.ZipFile(folder / "model.keras") as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  # What differs from save to save: dates, and addresses of objects.
  members["metadata.json"] = re.sub(rb"\d+-\d+-\d+@[\d:]+", b"2020-01-01@00:00:00", members["metadata.json"])
  members["config.json"] = re.sub(rb'("shared_object_id": )\d+', rb"\g<1>1", members["config.json"])
  with zipfile.ZipFile(folder / "model.keras", "w") as archive:
    for name, content in members.items():
      archive.writestr(zipfile.ZipInfo(name), content)


def _saved_model(folder: pathlib.Path) -> None:
  """Not repeatable: TensorFlow orders its variables by their addresses, and numbers its functions through."""
  from tla_tf import networks
  from tla_tf.persistence.export import export_saved_model

  export_saved_model(networks.build("mlp_4", _SHAPE, 3), _SHAPE, folder / "model")


def _outputs(name: str, folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence.model_file import ModelFile

  model = ModelFile(folder / name).load()
  model.check(_pixels(), np.arange(4) % 3, 3)
  return np.asarray(model(_pixels()))


def _tf1_checkpoint(version: str, folder: pathlib.Path) -> None:
  import tf1_support as tf1

  tf1.write_checkpoint(folder, tf1.small(), getattr(tf1, version))
  state = folder / "checkpoint"
  state.write_text(state.read_text().replace(f"{folder}/", ""))  # Where it was made.


def _imported(folder: pathlib.Path) -> typing.Any:
  from tla_tf.persistence import CheckpointStore
  from tla_tf.persistence.loading import load_network
  from tla_tf.persistence.tf1_import import import_checkpoint

  run = import_checkpoint(folder, "mlp_4", folder / "run", "mnist", say=lambda line: None)
  step = CheckpointStore(run.checkpoints).resolve("last")
  return [step, [variable.numpy() for variable in load_network(run, step).variables]]


# --------------------------------------------------------------------------- all of them


def _record(name: str, read: typing.Callable[[pathlib.Path], typing.Any], weight: int = 4) -> Reader:
  """A JSON record of a run folder."""
  seal = functools.partial(_seal_json, f"run/{name}")
  return Reader(name.rpartition("/")[2], _run, f"run/{name}", mutations.of_json, read, seal=seal, weight=weight)


def _whole(kind: type[records.Record], name: str, folder: pathlib.Path) -> typing.Any:
  return kind.read(folder / "run" / name).to_dict()


def _all() -> list[Reader]:
  text, npz, image = mutations.of_text, mutations.of_npz, mutations.of_bytes
  book = functools.partial(_whole, records.EvaluationBook, "evaluation.json")
  analysis = functools.partial(_whole, records.AnalysisRecord, "analysis.json")
  tf1 = {"sealed": False, "weight": 1, "tensorflow": True}
  return [
    _record("config.json", _config),
    _record(f"{_STEP}/meta.json", _meta),
    _record("evaluation.json", book),
    _record("analysis.json", analysis),
    _record("fallback.json", lambda folder: records.plain(_opened(folder).read_fallback()), weight=1),
    Reader(
      "metrics.jsonl",
      _run,
      "run/metrics.jsonl",
      mutations.of_lines,
      lambda f: _opened(f).read_metrics(),
      True,
      _seal_metrics,
    ),
    Reader("evaluation_images", _run, "run/evaluation_images/*", npz, _evaluation_images, True, _seal_images, 2),
    Reader("analysis.npz", _run, "run/analysis.npz", npz, _analysis_arrays, True, _seal_arrays),
    Reader("detector.npz", _run, "run/detector.npz", npz, _detector, True, _seal_detector),
    Reader("a run for its report", _run, "run/**/*", mutations.of_json, _report, True, None, 2),
    Reader(
      "notes of comparisons",
      _notes,
      "*.json",
      mutations.of_json,
      _read_notes,
      True,
      functools.partial(_seal_json, "*.json"),
    ),
    Reader("measured times", _measured, "*.json", mutations.of_json, _measured, weight=2),
    Reader("journal", _journal, "state/*", mutations.of_lines, _journal, True, _seal_journal),
    Reader("kept arrays: record", _kept, "kept/*/about.json", mutations.of_json, _kept),
    Reader("kept arrays", _kept, "kept/*/*.npy", mutations.of_npy, _kept, weight=2),
    Reader("decoded images", _cached, "cache/*/*", mutations.of_json, _cached, weight=2),
    Reader("plan of a comparison", _texts, "plan.yaml", text, _plan, False),
    Reader("list of attacks", _texts, "suite.yaml", text, functools.partial(_suite, "suite.yaml"), False),
    Reader(
      "list of attacks, JSON",
      _texts,
      "suite.json",
      mutations.of_json,
      functools.partial(_suite, "suite.json"),
      False,
      weight=2,
    ),
    Reader("IDX", _data, "[il]*s", mutations.of_bytes, _idx, False),
    Reader("IDX, gzipped", _data, "images.gz", mutations.of_gzip(mutations.of_bytes), _idx_gz, False, weight=2),
    Reader("CIFAR-10, binary", _data, "binary/*", mutations.of_bytes, functools.partial(_cifar10, "binary"), False),
    Reader(
      "CIFAR-10, pickles", _data, "python/*", mutations.of_bytes, functools.partial(_cifar10, "python"), False, weight=4
    ),
    Reader("arrays of one's own", _data, "mine.npz", npz, _npz, False),
    Reader("Tiny ImageNet's lists", _tiny_imagenet, "**/*.txt", text, _tiny_imagenet_files, False),
    Reader("image files", _images, "*", image, _image, False, weight=6),
    Reader("checkpoint", _run, f"run/{_STEP}/state*", image, _network, True, _seal_meta, 1, True),
    Reader(
      ".keras file",
      _keras_file,
      "model.keras",
      mutations.of_zip(mutations.of_json),
      functools.partial(_outputs, "model.keras"),
      **tf1,
    ),
    Reader(
      "SavedModel", _saved_model, "model/**/*", image, functools.partial(_outputs, "model"), **tf1, repeatable=False
    ),
    Reader("TF1 checkpoint", functools.partial(_tf1_checkpoint, "V2"), "checkpoint*", image, _imported, **tf1),
    Reader("TF1 checkpoint, older", functools.partial(_tf1_checkpoint, "V1"), "checkpoint*", image, _imported, **tf1),
  ]


READERS = {reader.name: reader for reader in _all()}
