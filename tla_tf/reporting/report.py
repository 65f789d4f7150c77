"""What a report of one or several runs says, from the files in their folders."""

import io
import shlex
import typing

import numpy as np

from tla_tf import files
from tla_tf.errors import InputError
from tla_tf.persistence.run_folder import read_json
from tla_tf.reporting import analysis_figures, analysis_tables, figures
from tla_tf.reporting.document import Bullets, Details, Document, Figure, Missing, Section, Text
from tla_tf.reporting.tables import Table, percent, pixels, ranged, suite_title, suites_of

# Settings that a reader asks for first; the others are folded away.
_FIRST_SETTINGS = (
  "dataset",
  "method",
  "network",
  "train_steps",
  "batch_size",
  "optimizer",
  "learning_rate",
  "weight_decay",
  "attack.epsilon",
  "attack.steps",
  "attack.step_size",
  "triplet.weight",
  "triplet.margin",
  "seed",
)


class Run(typing.NamedTuple):
  """What a run folder holds for a report; None or empty where it does not.

  Attributes:
    name: what the run is called.
    path: its folder.
    settings: dict from "triplet.margin" and the like to JSON values.
    metrics: the dicts of `metrics.jsonl`.
    evaluation: what `evaluation.json` holds.
    analysis: what `analysis.json` holds.
    arrays: those of `analysis.npz`.
    broken_images: PNG of images that attacks broke.
  """

  name: str
  path: typing.Any
  settings: dict
  metrics: list
  evaluation: dict | None
  analysis: dict | None
  arrays: dict | None
  broken_images: bytes | None


def read_run(name, folder):
  """Reads what a report needs of a `RunFolder`.

  Returns:
    Run.

  Raises:
    InputError: if a file is there but damaged.
  """
  config, _ = folder.read_config()
  evaluation = _result(folder.evaluation, "tla-evaluate", ("clean", "attacks", "worst_case", "alarms", "probes"))
  analysis = _result(folder.analysis, "tla-analyze", ("separation", "knn", "detection", "accuracy", "arrays_digest"))
  picture = folder.figures / "adversarial_examples.png"
  return Run(
    name,
    folder.path,
    dict(_flat(config.to_dict())),
    folder.read_metrics(),
    evaluation,
    analysis,
    _arrays(folder.analysis_arrays, analysis["arrays_digest"]) if analysis else None,
    picture.read_bytes() if picture.exists() else None,
  )


def _result(path, tool, names):
  """What a result file holds; None where there is none."""
  if not path.exists():
    return None
  content = read_json(path)
  lacking = [name for name in names if name not in content]
  if lacking:
    raise InputError(f"{path}: not as this release writes it ({lacking[0]!r} is missing); run {tool} again.")
  return content


def _flat(settings, prefix=""):
  for name, value in settings.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield f"{prefix}{name}", value


def _arrays(path, digest):
  try:
    if files.digest(path) != digest:
      raise ValueError("of another analysis")
    with np.load(path, allow_pickle=False) as content:
      return {name: content[name] for name in content.files}
  except Exception as error:  # zipfile and zlib have errors of their own
    raise InputError(
      f"{path}: missing, damaged, or of another analysis ({type(error).__name__}); run tla-analyze again."
    ) from None


def make_report(runs):
  """The report of one or several runs on one data set.

  Args:
    runs: sequence of Run with different names.

  Returns:
    `document.Document`.

  Raises:
    InputError: if a result file is not as this release writes it.
  """
  makers = (
    ("Summary", _summary),
    ("Settings", _settings),
    ("Training", _training),
    ("Robustness", _robustness),
    ("Images of attacks", _attack_images),
    ("Embeddings under attack", _embeddings),
    ("Detection", _detection),
  )
  try:
    sections = tuple(Section(title, tuple(make(runs))) for title, make in makers)
  except (KeyError, TypeError, IndexError, ValueError) as error:
    paths = ", ".join(str(run.path) for run in runs)
    raise InputError(
      f"{paths}: a result file is not as this release writes it ({type(error).__name__}: {error}); run "
      "tla-evaluate and tla-analyze again."
    ) from error
  title = "Robustness report: " + ", ".join(run.name for run in runs)
  return Document(
    title,
    f"Data set {runs[0].settings['dataset']}. Accuracies are shares of test images, with exact "
    "95% intervals; pixels and epsilon are in [0, 1].",
    sections,
  )


def _missing(runs, attribute, what, tool):
  """A note on the runs that lack something."""
  lacking = [run for run in runs if not getattr(run, attribute)]
  if not lacking:
    return []
  names = ", ".join(run.name for run in lacking)
  paths = " ".join(shlex.quote(str(run.path)) for run in lacking)
  return [Missing(f"Missing for {names}: {what}. To get it: `{tool} --run_dir={paths}`")]


def _drawn(name, caption, draw, *args):
  """A Figure in both themes of a drawing function that takes an open file last."""
  pictures = []
  for theme in ("light", "dark"):
    content = io.BytesIO()
    draw(*args, content, theme=theme)
    pictures.append(content.getvalue())
  return Figure(name, caption, *pictures)


def _results(runs, attribute):
  return {run.name: getattr(run, attribute) for run in runs if getattr(run, attribute)}


def _summary(runs):
  rows = []
  for run in runs:
    evaluation, analysis = run.evaluation, run.analysis
    worst = evaluation and evaluation["worst_case"]
    rows.append(
      (
        run.name,
        str(run.settings["method"]),
        str(run.settings["network"]),
        ranged(evaluation["clean"]["accuracy"], evaluation["clean"]["interval"]) if evaluation else "missing",
        ranged(worst["accuracy"], worst["interval"]) if evaluation else "missing",
        percent(analysis["knn"]["adversarial"]) if analysis else "missing",
        " / ".join("-" if r is None else f"{r:.3f}" for r in analysis["separation_ratio"].values())
        if analysis
        else "missing",
        "missing" if not analysis else _number(analysis["detection"]["auc_misclassified"]),
      )
    )
  blocks = [
    Table(
      "Worst case: images that withstand every attack of every suite that was run; the rest is explained below.",
      (
        "Model",
        "method",
        "network",
        "clean",
        "worst case",
        "kNN, attacked",
        "r, weak / strong attack",
        "AUC misclassified",
      ),
      tuple(rows),
    )
  ]
  analysed = _results(runs, "analysis")
  if any(
    len(_analysis_tables(analysed, make)) > 1
    for make in (analysis_tables.separation_table, analysis_tables.neighbour_table, analysis_tables.detection_table)
  ):
    blocks.append(
      Missing(
        "The runs were analysed with different settings: compare the last columns only after a "
        "look at the tables below, or run `tla-analyze` on all of them together."
      )
    )
  alarms = {run.name: len(run.evaluation["alarms"]) for run in runs if run.evaluation}
  if any(alarms.values()):
    listed = ", ".join(f"{name} {count}" for name, count in alarms.items() if count)
    blocks.append(Text(f"Alarms were raised ({listed}): read them under Robustness before trusting an accuracy."))
  for run in runs:
    if run.evaluation and run.analysis and run.evaluation["checkpoint_digest"] != run.analysis["checkpoint_digest"]:
      blocks.append(
        Missing(
          f"{run.name}: robustness was measured on the checkpoint of step "
          f"{run.evaluation.get('checkpoint')}, the embeddings are of step "
          f"{run.analysis.get('checkpoint')}; run `tla-evaluate` or `tla-analyze` again."
        )
      )
  blocks += _missing(runs, "evaluation", "accuracy under attack", "tla-evaluate")
  blocks += _missing(runs, "analysis", "embeddings and detection", "tla-analyze")
  return blocks


def _number(value):
  return "-" if value is None else f"{value:.4f}"


def _settings(runs):
  def table(title, names):
    return Table(
      title,
      ("Setting", *(run.name for run in runs)),
      tuple(
        (name, *("-" if _unused(name, run) else _shown(name, run.settings.get(name)) for run in runs)) for name in names
      ),
    )

  names = list(dict.fromkeys(name for run in runs for name in run.settings))
  first = [name for name in _FIRST_SETTINGS if name in names]
  rest = [name for name in names if name not in first]
  differing = [
    name for name in rest if len({repr(run.settings.get(name)) for run in runs if not _unused(name, run)}) > 1
  ]
  blocks = [table("The settings that matter most, and all that differ", [*first, *differing])]
  if rest:
    blocks.append(Details("All other settings", (table("As in config.json", [n for n in rest if n not in differing]),)))
  return blocks


def _unused(name, run):
  """Whether a setting has no effect under the run's method."""
  method, group = str(run.settings["method"]), name.partition(".")[0]
  return (group in ("triplet", "negative_pool_size") and not method.startswith("tla")) or (
    group in ("attack", "attack_mode") and method == "um"
  )


def _shown(name, value):
  if value is None or value == "" or value == []:
    return "-"
  if name.endswith(("epsilon", "step_size")) and isinstance(value, float):
    return pixels(value)
  return f"{value:g}" if isinstance(value, float) else str(value)


def _training(runs):
  trained = {run.name: run.metrics for run in runs if run.metrics}
  blocks = []
  if trained:
    blocks.append(
      _drawn(
        "training",
        "Loss on training batches, and accuracy on held-out images, clean and under the validation attack.",
        figures.training_curves,
        trained,
      )
    )
  return blocks + [
    Missing(
      f"Missing for {run.name}: training curves; the network was imported, or its training has "
      "not reached the first checkpoint."
    )
    for run in runs
    if not run.metrics
  ]


def _robustness(runs):
  results = _results(runs, "evaluation")
  blocks = []
  for suite in suites_of(results):
    judged = {
      name: result for name, result in results.items() if any(row["suite"] == suite for row in result["attacks"])
    }
    for alike in _alike(judged, lambda one, suite=suite: suite_title(one, suite)):
      blocks.append(_attack_table(alike, suite))
      blocks.append(
        _drawn(
          f"robust_accuracy_{len(blocks)}",
          f"Suite {suite}: accuracy under every attack, with 95% intervals.",
          figures.robust_accuracy,
          alike,
          suite,
        )
      )
  if results:
    alarms = [
      f"`{alarm['code']}` ({name}): {alarm['seen']} {alarm['why']} {alarm['remedy']}"
      for name, result in results.items()
      for alarm in result["alarms"]
    ]
    blocks.append(
      Text(
        "Alarms: signs that an attack was too weak, so that an accuracy is too high."
        if alarms
        else "No alarm was raised."
      )
    )
    blocks += [Bullets(tuple(alarms))] if alarms else []
    probed = {name: result for name, result in results.items() if result["probes"]}
    for i, alike in enumerate(_alike(probed, _probes)):
      blocks.append(
        _drawn(
          f"accuracy_curves_{i}",
          "Accuracy against epsilon and against the number of PGD's steps, on the probed images.",
          figures.accuracy_curves,
          alike,
        )
      )
    blocks += [
      Missing(
        f"Missing for {name}: accuracy against epsilon, and half of the alarms; `tla-evaluate` was run "
        "without probes (--probe_examples=0)."
      )
      for name in results
      if name not in probed
    ]
  return blocks + _missing(runs, "evaluation", "accuracy under attack", "tla-evaluate")


def _alike(results, describe):
  """Groups of results that one table may hold: those that are described alike when they stand alone."""
  groups = {}
  for name, result in results.items():
    groups.setdefault(describe({name: result}), {})[name] = result
  return list(groups.values())


def _probes(one):
  (result,) = one.values()
  return tuple(result["probes"][name] for name in ("norm", "epsilon", "num_examples"))


def _attack_table(results, suite):
  """A suite's accuracies with intervals: a row an attack, a column a model, which fits a phone better."""
  by_model = {
    name: {row["name"]: row for row in result["attacks"] if row["suite"] == suite} for name, result in results.items()
  }
  names = list(dict.fromkeys(name for rows in by_model.values() for name in rows))

  def line(title, cells):
    return (title, *("-" if cell is None else ranged(cell["accuracy"], cell["interval"]) for cell in cells))

  rows = [line("Clean", [result["clean"] for result in results.values()])]
  rows += [line(name, [rows.get(name) for rows in by_model.values()]) for name in names]
  rows.append(line("Worst case", [result["worst_case"]["by_suite"].get(suite) for result in results.values()]))
  return Table(suite_title(results, suite), ("Attack", *results), tuple(rows))


def _attack_images(runs):
  blocks = [
    Figure(
      f"adversarial_examples_{i}",
      f"{run.name}: images that attacks broke; clean, attacked, and the change, with what the network says.",
      run.broken_images,
    )
    for i, run in enumerate(runs)
    if run.broken_images
  ]
  return blocks + _missing(
    runs, "broken_images", "images that attacks broke (none did, or it was not evaluated)", "tla-evaluate"
  )


def _embeddings(runs):
  analysed = _results(runs, "analysis")
  blocks = _analysis_tables(analysed, analysis_tables.separation_table, analysis_tables.neighbour_table)
  if analysed:
    shares = ", ".join(
      f"{name} {result['embedding_dimensions']:,} dimensions, {result['zero_share']:.0%} zeros"
      for name, result in analysed.items()
    )
    counts = " or ".join(f"{count:,}" for count in dict.fromkeys(r["num_examples"] for r in analysed.values()))
    blocks.append(
      Text(
        f"Attacks: PGD on {counts} test images, whether or not they were classified correctly. Embeddings: {shares}."
      )
    )
    blocks += _analysis_figures(runs)
  return blocks + _missing(runs, "analysis", "Tables 5 and 6, Figures 1, 2 and 4", "tla-analyze")


def _analysis_tables(analysed, *makers):
  """The tables of the makers, each one for every group of runs that were analysed with the same settings."""
  return [make(alike) for make in makers for alike in _alike(analysed, lambda one, make=make: make(one)[:2])]


def _analysis_figures(runs):
  """Figures 1, 2 and 4 side by side for runs that were analysed together, else one after the other."""
  groups = {}
  for run in runs:
    if run.arrays:
      shown = (
        run.arrays["classes"],
        run.arrays["retrieval_labels"],
        run.arrays["retrieval_images"][:, 0],
        np.array(run.analysis["usual_epsilon"]),
      )
      groups.setdefault(b"".join(np.ascontiguousarray(part).tobytes() for part in shown), []).append(run)
  blocks = []
  for i, group in enumerate(groups.values()):
    arrays, names = {run.name: run.arrays for run in group}, group[0].analysis["class_names"]
    epsilon = pixels(group[0].analysis["usual_epsilon"])
    true, false = (names[label] for label in group[0].arrays["classes"])
    shown = (
      (
        "tsne_class",
        f"Figure 1: t-SNE of attacked images of class {true} (epsilon {epsilon}), coloured by the class "
        "that the network says, over natural images of it (grey).",
        analysis_figures.tsne_of_class,
      ),
      (
        "tsne_pair",
        f"Figure 2: natural images of {true} and of {false}, and attacked images of {true} that are taken "
        f"for {false} (epsilon {epsilon}).",
        analysis_figures.tsne_of_pair,
      ),
      (
        "retrieval",
        "Figure 4: the natural training images nearest to a clean query and to the same query attacked "
        f"(epsilon {epsilon}). Frames: green for the query's true class, red and dashed for another; below, "
        "the class (of a query: what the network says).",
        analysis_figures.retrieval,
      ),
    )
    blocks += [_drawn(f"{name}_{i}", caption, draw, arrays, names) for name, caption, draw in shown]
  return blocks


def _detection(runs):
  analysed = _results(runs, "analysis")
  blocks = []
  for i, alike in enumerate(_alike(analysed, lambda one: analysis_tables.detection_table(one).title)):
    arrays = {run.name: run.arrays for run in runs if run.name in alike}
    blocks.append(
      _drawn(
        f"roc_{i}", "Figure 5: ROC of the largest class density as a score.", analysis_figures.roc_curves, arrays, alike
      )
    )
  blocks += _analysis_tables(analysed, analysis_tables.detection_table, analysis_tables.covariance_table)
  if analysed:
    blocks += [
      Text(
        "One Gaussian per class, fitted to training images, each clean and attacked at the weaker epsilon; tested "
        "on clean test images and on the same attacked at the stronger one. AUC misclassified: misclassified "
        "against correctly classified images, both clean and attacked among them. AUC adversarial: attacked against "
        "clean images. Intervals: bootstrap over images."
      ),
      Text(
        "The attacks did not know of the detector. An attacker who does can also raise the density of an image: "
        "these figures say nothing of that."
      ),
    ]
  return blocks + _missing(runs, "analysis", "Figure 5 and the detector", "tla-analyze")
