"""Tables, figures, the document in HTML and Markdown, and the report of run folders."""

import dataclasses
import io
import json
import pathlib
import re

import matplotlib
import numpy as np
import pytest
from page_support import Page
from PIL import Image

from tla_tf import files, reporting
from tla_tf.config import AttackConfig, TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence import RunFolder
from tla_tf.records import (
  Alarm,
  AnalysisArrays,
  AnalysisRecord,
  AttackRow,
  EvaluationBook,
  EvaluationRecord,
  Probes,
  Share,
  WorstCase,
)
from tla_tf.records.evaluation import CleanShare, Diagnostics, EpsilonPoint, NoiseProbe, StepsPoint
from tla_tf.records.run import DataFacts
from tla_tf.reporting import document as doc
from tla_tf.reporting import drawing, figures, markdown_table, print_table, suite_table
from tla_tf.reporting.tables import Table
from tla_tf.summaries import Measured, findings_of
from tla_tf.types import Norm, Target

PNG = b"\x89PNG"
FIXTURES = pathlib.Path(__file__).parent / "fixtures"


@pytest.fixture
def drawn(monkeypatch):
  """The figures that are drawn: they are collected, not written."""
  seen = []
  for module in ("figures", "analysis_figures"):
    monkeypatch.setattr(f"tla_tf.reporting.{module}.save", lambda figure, path: seen.append(figure))
  return seen


def _texts(figure):
  """All that is written in a figure."""
  return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def _lines(axes):
  """The lines of a panel that show data, each as [n, 2]."""
  return [line.get_xydata() for line in axes.lines if len(line.get_xydata())]


# --------------------------------------------------------------------------- tables


def _row(name, accuracy, epsilon=0.2, **changes):
  config = AttackConfig(epsilon=epsilon)
  row = AttackRow(
    name=name,
    suite="quick",
    kind="gradient",
    norm=config.norm,
    epsilon=epsilon,
    steps=config.steps,
    step_size=config.step_size,
    restarts=1,
    settings=config.to_dict(),
    target=Target.NONE,
    on_survivors=False,
    accuracy=accuracy,
    interval=(accuracy - 0.1, accuracy + 0.1),
    accuracy_per_seed=[accuracy],
    accuracy_std=None,
    accuracy_worst_over_seeds=accuracy,
    images_attacked=40,
    median_distance=None,
    seconds=1.0,
    diagnostics=Diagnostics(zero_gradient_images=0, nonfinite_gradient_images=0, rejected_by_verifier=0),
  )
  return dataclasses.replace(row, **changes)


def _results(clean, worst, epsilon=0.2, **attacks):
  interval = (worst - 0.1, worst + 0.1)
  return EvaluationRecord(
    clean=CleanShare(accuracy=clean, num_examples=40, interval=(clean - 0.1, clean + 0.05)),
    attacks=[_row(name, accuracy, epsilon) for name, accuracy in attacks.items()],
    worst_case=WorstCase(accuracy=worst, interval=interval, by_suite={"quick": Share(worst, interval)}, by_threat=[]),
    alarms=[],
    probes=None,
    suite="quick",
    seed=0,
    num_seeds=1,
    eight_bit=False,
    source=None,
    seconds=1.0,
    training_epsilon=None,
    notes=[],
    checkpoint=30,
    checkpoint_digest="abc",
    config={"dataset": "digits"},
    data_digest="d",
    versions={},
  )


def _found(**results):
  """What is known of models by name, of an evaluation each."""
  return {name: findings_of([Measured(result, None)]) for name, result in results.items()}


PROBES = Probes(
  num_examples=20,
  norm=Norm.LINF,
  epsilon=0.2,
  clean_accuracy=0.9,
  noise=NoiseProbe(tries=20, accuracy=0.85),
  epsilons=[EpsilonPoint(epsilon=e, accuracy=a) for e, a in ((0.0, 0.9), (0.2, 0.4), (1.0, 0.0))],
  steps=[StepsPoint(steps=n, accuracy=a) for n, a in ((1, 0.6), (10, 0.5), (100, 0.45))],
  same_outputs=True,
)


def test_several_seeds_show_their_spread():
  result = _results(0.9, 0.25).replace(attacks=[_row("PGD", 0.25, accuracy_std=0.0125)])
  assert suite_table({"AT": result}, "quick").rows[0][2] == "25.00% ± 1.25"


def test_models_that_were_judged_otherwise_get_tables_of_their_own():
  other = _results(0.9, 0.4, 4 / 255, PGD=0.4)
  results = _found(AT=_results(0.9, 0.25, PGD=0.3), AT4=other, TLA=_results(0.8, 0.2, PGD=0.2))
  first, second = reporting.suite_tables(results)
  assert first.title.endswith("L-inf epsilon 0.2") and [row[0] for row in first.rows] == ["AT", "TLA"]
  assert second.title.endswith("L-inf epsilon 4/255") and [row[0] for row in second.rows] == ["AT4"]


def test_markdown_of_an_evaluation_has_tables_notes_and_alarms():
  result = _results(0.9, 0.25, PGD=0.3).replace(notes=["Trained at 0.1."], alarms=[Alarm("A_CODE", "s", "w", "r")])
  text = reporting.markdown_evaluation(_found(AT=result))
  assert text.startswith("Accuracy on 40 test images of digits, suite quick, L-inf epsilon 0.2\n\n| Model |")
  assert text.endswith("\nAT: Trained at 0.1.\n\nAlarms:\n\n- **A_CODE** (AT): s w *r*\n")


def test_markdown_table():
  results = {"AT": _results(0.9, 0.25, FGSM=0.5, PGD=0.25), "TLA": _results(0.875, 0.3, PGD=0.3, MIM=1.0)}
  table = markdown_table(suite_table(results, "quick"))
  assert table == (
    "| Model | Clean | FGSM | PGD | MIM | Worst case | 95% interval |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    "| AT | 90.00% | 50.00% | 25.00% | - | 25.00% | 15.0-35.0% |\n"
    "| TLA | 87.50% | - | 30.00% | 100.00% | 30.00% | 20.0-40.0% |\n"
  )


@pytest.mark.parametrize("columns", ["20", "300"])
def test_printed_table_is_whole_where_there_is_no_terminal(capsys, monkeypatch, columns):
  monkeypatch.setenv("COLUMNS", columns)
  names = ["FGSM", "BIM-40", "C&W-40", "PGD-40", "PGD-100", "20xPGD-100", "MIM-200"]
  accuracies = dict(zip(names, (0.91, 0.82, 0.73, 0.64, 0.55, 0.46, 0.37)))
  table = suite_table({"runs/a_rather_long_name": _results(0.9901, 0.3456, **accuracies)}, "quick")
  print_table(table._replace(title="Robust accuracy"))
  lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
  assert lines[0] == ["Robust", "accuracy"]
  assert ["Model", "Clean", *names, "Worst", "case", "95%", "interval"] in lines
  assert lines[-1] == [
    "runs/a_rather_long_name",
    "99.01%",
    "91.00%",
    "82.00%",
    "73.00%",
    "64.00%",
    "55.00%",
    "46.00%",
    "37.00%",
    "34.56%",
    "24.6-44.6%",
  ]


# --------------------------------------------------------------------------- document


HOSTILE = '<script>alert("x")</script> & | https://example.com'


def _document():
  blocks = (
    doc.Text(f"{HOSTILE} and `code`"),
    doc.Bullets((HOSTILE, "b")),
    doc.Missing(HOSTILE),
    Table(HOSTILE, ("Model", HOSTILE), ((HOSTILE, "1"),)),
    doc.Figure("one", HOSTILE, PNG, b"dark"),
    doc.Details("More", (doc.Figure("two", "second", PNG),)),
  )
  return doc.Document(f"Title {HOSTILE}", HOSTILE, (doc.Section("First part", blocks), doc.Section("Second", ())))


def test_html_escapes_whatever_it_is_given_and_refers_to_nothing_outside():
  page = reporting.to_html(_document())
  found = Page(page)
  assert not {"script", "link", "iframe", "object", "embed"} & set(found.tags)
  references = [
    value for name, value in found.attributes if name in ("src", "srcset", "href", "data", "action", "style")
  ]
  assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in references)
  (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
  assert "url(" not in style and "@import" not in style
  assert "default-src 'none'" in page
  assert found.text.count('<script>alert("x")</script>') >= 6
  assert found.tags.count("main") == found.tags.count("nav") == 1
  assert found.tags.count("source") == 1 and found.tags.count("img") == 2
  for anchor in re.findall(r'href="#([^"]+)"', page):
    assert f'id="{anchor}"' in page


def test_html_serves_phones_printers_and_dark_screens():
  page = reporting.to_html(_document())
  assert '<meta name="viewport" content="width=device-width' in page
  for rule in ("prefers-color-scheme: dark", "@media print", "@media (max-width"):
    assert rule in page


def test_markdown_has_the_same_blocks():
  text = reporting.to_markdown(_document(), "pictures")
  assert text.startswith(f"{reporting.MARKDOWN_MARK}\n\n# Title ")
  for part in ("## First part", "- b", "![two](<pictures/two.png>)", "### More", "and `code`"):
    assert part in text
  # Nothing that a name holds becomes a tag, a link or a column.
  assert not re.search(r"(?<!\\)<(?!pictures|!--)|(?<![\\!])\[", text)
  row = text.splitlines()[text.splitlines().index("| --- | ---: |") + 1]
  assert row.count(" | ") == 1 and "\\|" in row
  assert [figure.name for figure in reporting.figures_of(_document())] == ["one", "two"]


# --------------------------------------------------------------------------- figures


def _pixel(png):
  with Image.open(png) as picture:
    return picture.convert("RGB").getpixel((2, 2))


@pytest.mark.parametrize("draw", [reporting.tsne_of_class, reporting.tsne_of_pair])
@pytest.mark.parametrize("name", ["a rather long class name", "truck", "7"])
def test_titles_and_legends_fit_the_figures_of_one_model(draw, name, drawn):
  draw({"tla": _arrays()}, [f"{name} {i}" for i in range(12)], None)
  (figure,) = drawn
  figure.canvas.draw()
  for artist in (figure._suptitle, *figure.legends):  # noqa: SLF001
    extent = artist.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["x_$^{_$", "$x_^$", "US$ and A$", "[b]"])
def test_class_names_are_shown_as_they_are(name, capsys, drawn):
  for draw in (reporting.tsne_of_class, reporting.tsne_of_pair, reporting.retrieval):
    draw({"tla": _arrays()}, [name] * 12, None)
    assert any(name in text for text in _texts(drawn[-1])), draw.__name__
    # Drawn, too, which is where mathematics would be parsed.
    drawn[-1].savefig(io.BytesIO())
  print_table(Table("Title", ("Model", name), ((name, "1"),)))
  assert capsys.readouterr().out.count(name) == 2


def test_bars_are_accuracies_with_their_intervals(drawn):
  results = {"AT": _results(0.9, 0.25, FGSM=0.5, PGD=0.25), "TLA": _results(0.8, 0.3, FGSM=0.6)}
  figures.robust_accuracy(results, "quick", None)
  (axes,) = drawn[0].axes
  bars = [found for found in axes.containers if isinstance(found, matplotlib.container.BarContainer)]
  heights = {found.get_label(): [round(bar.get_height(), 9) for bar in found] for found in bars}
  assert heights == {"AT": [0.9, 0.5, 0.25, 0.25], "TLA": [0.8, 0.6, 0.3]}
  assert [label.get_text() for label in axes.get_xticklabels()] == ["Clean", "FGSM", "PGD", "Worst case"]
  ends = [segment[:, 1] for lines in axes.collections for segment in lines.get_segments()]
  np.testing.assert_allclose(ends[:2], [(0.8, 0.95), (0.4, 0.6)])
  assert "90%" in _texts(drawn[0]) and any("test images of digits" in text for text in _texts(drawn[0]))


def test_curves_of_the_probes_are_what_was_probed(drawn):
  figures.accuracy_curves({"AT": _results(0.9, 0.3, PGD=0.4).replace(probes=PROBES)}, None)
  left, right = drawn[0].axes
  np.testing.assert_allclose(_lines(left)[0], [(0, 0.9), (0.2, 0.4), (1, 0)])
  np.testing.assert_allclose(_lines(right)[0], [(1, 0.6), (10, 0.5), (100, 0.45)])
  # Random noise, and the suite's radius.
  np.testing.assert_allclose(_lines(right)[1][:, 1], 0.85)
  np.testing.assert_allclose(_lines(left)[1][:, 0], 0.2)
  assert any("20 test images" in text for text in _texts(drawn[0]))


def test_adversarial_examples_are_shown_with_what_the_network_says(drawn, tmp_path):
  images = np.zeros((2, 4, 4, 1), np.float32)
  examples = {
    "PGD": (images, images + 0.25, np.array([0, 1]), np.array([1, -1])),
    "FGSM": (images[:0], images[:0], np.array([], int), np.array([], int)),
  }
  figures.adversarial_examples(examples, ["cat", "dog"], tmp_path / "a.png", "title")
  texts = _texts(drawn[0])
  assert {"PGD", "cat", "dog!", "NaN!", "±0.25", "clean", "attacked", "change", "title"} <= set(texts)
  assert "FGSM" not in texts
  shown = [np.asarray(axes.images[0].get_array()) for axes in drawn[0].axes]
  assert [float(image.max()) for image in shown] == [0, 0.25, 1.0, 0, 0.25, 1.0]


def test_a_picture_of_examples_goes_when_nothing_fell(tmp_path):
  (tmp_path / "a.png").write_bytes(PNG)
  none = np.zeros((0, 4, 4, 1), np.float32)
  assert figures.adversarial_examples({"PGD": (none, none, [], [])}, ["cat"], tmp_path / "a.png") is None
  assert not (tmp_path / "a.png").exists()


def test_figures_have_a_light_and_a_dark_theme():
  results = {"AT": _results(0.9, 0.25, FGSM=0.5), "TLA": _results(0.8, 0.3, FGSM=0.6)}
  light, dark = io.BytesIO(), io.BytesIO()
  assert figures.robust_accuracy(results, "quick", light) is light
  figures.robust_accuracy(results, "quick", dark, theme="dark")
  assert _pixel(light) == (255, 255, 255)
  assert max(_pixel(dark)) < 60
  again = io.BytesIO()
  figures.robust_accuracy(results, "quick", again)
  assert again.getvalue() == light.getvalue()


METRICS = [
  {"step": step, "loss": 2.0 / step, "cross_entropy": 1.0 / step, "val_accuracy": 0.5, "val_robust_accuracy": 0.25}
  for step in (10, 20)
]


def test_training_curves_show_the_metrics_of_every_run(drawn):
  figures.training_curves({"um": METRICS, "tla": METRICS[:1]}, None, "title")
  left, right, _ = drawn[0].axes
  expected = [[(10, 0.2), (20, 0.1)], [(10, 0.1), (20, 0.05)], [(10, 0.2)], [(10, 0.1)]]
  for line, points in zip(_lines(left), expected, strict=True):
    np.testing.assert_allclose(line, points)
  for line, height in zip(_lines(right), (0.5, 0.25, 0.5, 0.25), strict=True):
    np.testing.assert_allclose(line[:, 1], height)
  said = {"title", "um", "tla", "line: total loss, dots: cross-entropy", "line: clean, dots: under attack"}
  assert said <= set(_texts(drawn[0]))


def test_training_curves_leave_out_what_a_method_does_not_log(drawn):
  rows = [{name: value for name, value in row.items() if name != "cross_entropy"} for row in METRICS]
  figures.training_curves({"own": rows}, None)
  assert len(_lines(drawn[0].axes[0])) == 1


def test_a_figure_is_written_whole_into_a_folder_that_is_made(tmp_path):
  path = figures.training_curves({"tla": METRICS}, tmp_path / "figures" / "training.png", "title")
  assert path.read_bytes().startswith(PNG)
  assert [entry.name for entry in path.parent.iterdir()] == ["training.png"]


def _arrays(queries=2, side=8, channels=1):
  """Arrays of an analysis, with classes that occur and some that do not."""
  rng = np.random.default_rng(0)
  return AnalysisArrays(
    **{
      "classes": np.array([4, 2]),
      "tsne_class_points": rng.normal(size=(30, 2)),
      "tsne_class_attacked": np.arange(30) > 9,
      "tsne_class_predictions": np.arange(30) % 12 - 1,
      "tsne_pair_points": rng.normal(size=(9, 2)),
      "tsne_pair_kinds": np.repeat([0, 1, 2], 3),
      "retrieval_images": rng.integers(0, 256, (queries, 2, side, side, channels), dtype=np.uint8),
      "retrieval_labels": np.arange(queries),
      "retrieval_predictions": np.tile([1, -1], (queries, 1)),
      "retrieval_neighbours": rng.integers(0, 256, (queries, 2, 3, side, side, channels), dtype=np.uint8),
      "retrieval_neighbour_labels": rng.integers(0, 9, (queries, 2, 3)),
      "roc_misclassified": np.array([[0, 0.5, 1], [0, 0.8, 1]]),
      "roc_adversarial": np.zeros((2, 0)),
    }
  )


NAMES = [f"a rather long class name {i}" for i in range(12)]


@pytest.mark.parametrize("arrays", [_arrays(), _arrays(queries=0), _arrays(channels=3)])
@pytest.mark.parametrize("draw", [reporting.tsne_of_class, reporting.tsne_of_pair, reporting.retrieval])
def test_figures_of_the_analysis_are_drawn_for_any_number_of_models(draw, arrays):
  for models in ({"tla": arrays}, {"um": arrays, "at": arrays, "tla": arrays}):
    picture = io.BytesIO()
    draw(models, NAMES, picture)
    assert picture.getvalue().startswith(PNG)


def test_figure_1_has_a_panel_a_model_with_every_point(drawn):
  arrays = _arrays()
  reporting.tsne_of_class({"um": arrays, "tla": arrays}, NAMES, None)
  assert [axes.get_title() for axes in drawn[0].axes] == ["um", "tla"]
  for axes in drawn[0].axes:
    # Natural images, rare classes, and nine classes of colours of their own.
    groups = [np.asarray(group.get_offsets()) for group in axes.collections]
    np.testing.assert_allclose(groups[0], arrays.tsne_class_points[:10])
    assert len(groups) == 2 + 9 and sum(map(len, groups)) == 30
    right = np.mean(arrays.tsne_class_predictions[10:] == 4)
    assert axes.get_xlabel() == f"{right:.0%} of attacked images still {NAMES[4]}"


def test_figure_2_tells_three_kinds_of_points_apart(drawn):
  arrays = _arrays()
  reporting.tsne_of_pair({"tla": arrays}, NAMES, None)
  (axes,) = drawn[0].axes
  for kind, group in enumerate(axes.collections):
    np.testing.assert_allclose(group.get_offsets(), arrays.tsne_pair_points[3 * kind : 3 * kind + 3])
  assert axes.get_xlabel() == "3 such attacked images"


def test_figure_4_shows_queries_beside_their_neighbours(drawn):
  arrays = _arrays()
  reporting.retrieval({"tla": arrays}, NAMES, None)
  shown = [axes for axes in drawn[0].axes if axes.images]
  assert len(shown) == 2 * 2 * (1 + 3)
  np.testing.assert_array_equal(shown[0].images[0].get_array(), arrays.retrieval_images[0, 0, ..., 0])
  np.testing.assert_array_equal(shown[1].images[0].get_array(), arrays.retrieval_neighbours[0, 0, 0, ..., 0])
  # Query 1 is of class 1: right when clean, NaN when attacked.
  assert shown[8].get_xlabel() == "a rath…ame 1" and shown[12].get_xlabel() == "NaN"
  assert shown[8].spines["left"].get_linestyle() == "-" and shown[12].spines["left"].get_linestyle() == "--"


def test_figure_4_says_so_where_no_image_is_right_under_every_model(drawn):
  reporting.retrieval({"tla": _arrays(queries=0)}, NAMES, None)
  assert _texts(drawn[0]) == ["No image was classified correctly by every model."]


def _analysis(**detection):
  record = AnalysisRecord.read(FIXTURES / "analysis_format_1.json")
  return record.replace(detection=dataclasses.replace(record.detection, **detection))


def test_roc_says_where_there_is_nothing_to_find(drawn):
  result = _analysis(auc_misclassified=0.7, auc_adversarial=None, auc_adversarial_interval=None)
  reporting.roc_curves({"at": _arrays()}, {"at": result}, None)
  left, _, aside = drawn[0].axes
  legend = aside.get_legend()
  assert legend.get_title().get_text() == "AUC left | right\n-: no such images"
  assert [text.get_text() for text in legend.get_texts()] == ["at: 0.7000 | -"]
  np.testing.assert_allclose(_lines(left)[0], [(0, 0), (0.5, 0.8), (1, 1)])


ATTACKS = ("FGSM", "BIM-40", "C&W-40", "PGD-40", "PGD-100", "20xPGD-100", "MIM-200", "black box PGD")


def _draw_robust_accuracy(names):
  results = {name: _results(0.9, 0.3, **dict.fromkeys(ATTACKS, 0.5)) for name in names}
  figures.robust_accuracy(results, "quick", None)


def _draw_many_attacks(names):
  attacks = {f"Auto-PGD on the targeted ratio {i}": 0.5 for i in range(40)}
  figures.robust_accuracy({name: _results(0.9, 0.3, **attacks) for name in names}, "quick", None)


def _draw_few_attacks(names):
  figures.robust_accuracy({name: _results(0.9, 0.3, FGSM=0.5, PGD=0.4) for name in names}, "quick", None)


def _draw_accuracy_curves(names):
  figures.accuracy_curves({name: _results(0.9, 0.3, PGD=0.4).replace(probes=PROBES) for name in names}, None)


def _draw_training_curves(names):
  figures.training_curves({name: METRICS for name in names}, None, "tla on mnist, lenet")


def _draw_roc_curves(names):
  reporting.roc_curves({name: _arrays() for name in names}, {name: _analysis() for name in names}, None)


def _draw_tsne_of_class(names):
  reporting.tsne_of_class({name: _arrays() for name in names}, NAMES, None)


def _draw_tsne_of_pair(names):
  reporting.tsne_of_pair({name: _arrays() for name in names}, NAMES, None)


def _draw_retrieval(names):
  reporting.retrieval({name: _arrays(queries=3) for name in names}, NAMES, None)


def _draw_adversarial_examples(names):
  images = np.zeros((3, 4, 4, 1), np.float32)
  rows = (images, images + 0.25, np.array([0, 1, 2]), np.array([1, -1, 4]))
  figures.adversarial_examples(
    dict.fromkeys(names, rows), NAMES, "a.png", "a rather long name: images that were broken"
  )


# What is drawn in the same way by two of them is drawn with other numbers of models.
DRAWINGS = {
  _draw_robust_accuracy: (1, 3, 8, 18, 50),
  _draw_few_attacks: (8,),
  _draw_many_attacks: (1, 50),
  _draw_accuracy_curves: (1, 18),
  _draw_training_curves: (1, 3, 8, 18, 50),
  _draw_roc_curves: (3, 50),
  _draw_tsne_of_class: (1, 8, 50),
  _draw_tsne_of_pair: (3, 18),
  _draw_retrieval: (50,),
  _draw_adversarial_examples: (50,),
}


@pytest.mark.parametrize("draw, count", [(draw, count) for draw, counts in DRAWINGS.items() for count in counts])
def test_figures_of_any_number_of_models_are_bounded_and_nothing_lies_over_anything(draw, count, drawn, monkeypatch):
  methods = ("um", "at", "tla", "alp", "trades")
  draw([f"{methods[i % 5]}{'_epsilon_8_255_margin_0.03' * (count > 8)}_seed_{i // 5}" for i in range(count)])
  (figure,) = drawn
  assert max(figure.get_size_inches() / (drawing.MAX_WIDTH, drawing.MAX_HEIGHT)) <= 1
  texts = _seen_texts(figure, monkeypatch)
  legends = figure.findobj(matplotlib.legend.Legend)
  whole, boxes = figure.bbox, [artist.get_window_extent() for artist in (*texts, *legends)]
  for artist, box in zip((*texts, *legends), boxes):
    assert min(box.x0, box.y0) >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1, artist
  corners = np.array([(box.x0 + 0.5, box.y0 + 0.5, box.x1 - 0.5, box.y1 - 0.5) for box in boxes[: len(texts)]])
  low = np.maximum(corners[:, None, :2], corners[None, :, :2])
  high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
  over = np.triu((high > low).all(-1), 1)
  assert not over.any(), [(texts[i].get_text(), texts[j].get_text()) for i, j in zip(*np.nonzero(over))][:5]
  panels = [axes.get_window_extent() for axes in figure.axes if axes.axison]
  assert not any(box.overlaps(panel) for box in boxes[len(texts) :] for panel in panels)


def _seen_texts(figure, monkeypatch):
  """The texts that are drawn, ticks out of view not among them."""
  seen, draw = {}, matplotlib.text.Text.draw

  def noted(text, renderer):
    if text.get_visible() and text.get_text().strip():
      seen[text] = True
    draw(text, renderer)

  monkeypatch.setattr(matplotlib.text.Text, "draw", noted)
  figure.draw_without_rendering()
  return list(seen)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("count", [8, 18])
def test_models_on_the_same_axes_differ_in_colour_and_marker(theme, count, drawn):
  names = [f"run {i}" for i in range(count)]
  figures.training_curves({name: METRICS for name in names}, None, theme=theme)
  legends = drawn[0].findobj(matplotlib.legend.Legend)
  assert [text.get_text() for legend in legends for text in legend.get_texts()] == names
  for legend in legends:
    looks = [(line.get_color(), line.get_marker()) for line in legend.get_lines()]
    assert len({shade for shade, _ in looks}) == len({mark for _, mark in looks}) == len(looks) <= 8
    paper = drawn[0].get_facecolor()
    assert all(drawing.contrast(shade, paper) >= 3 for shade, _ in looks)


def test_what_a_figure_leaves_out_is_said(drawn):
  _draw_many_attacks(["at"])
  _draw_few_attacks([f"run {i}" for i in range(70)])
  _draw_retrieval([f"run {i}" for i in range(50)])
  said = [" ".join(" ".join(_texts(figure)).split()) for figure in drawn]
  assert "the first 29 of 40 attacks; the table has all" in said[0]
  assert "the first 60 of 70 models; the table has all" in said[1]
  assert "the first 24 of 50 models, 1 of 3 queries; the figures of each run have all" in said[2]


def test_a_table_of_colours_has_the_accuracies(drawn):
  names = [f"run {i}" for i in range(9)]
  results = {name: _results(0.9, 0.25, FGSM=0.01 * i) for i, name in enumerate(names)}
  figures.robust_accuracy({**results, "run 8": _results(0.9, 0.25, PGD=0.3)}, "quick", None)
  (axes,) = drawn[0].axes
  np.testing.assert_allclose(axes.images[0].get_array()[7], [0.9, 0.07, np.nan, 0.25])
  assert [label.get_text() for label in axes.get_yticklabels()] == names
  cells = [text.get_text() for text in axes.texts]
  assert cells[-8:] == ["90%", "7%", "-", "25%", "90%", "-", "30%", "25%"]


def test_names_that_are_cut_alike_are_numbered():
  names = [f"a_long_name_that_{what}_ends_as_all_do_in_the_end" for what in ("one", "two")] + ["short"]
  shown = drawing.shortened_names(names, 1.0, 8)
  assert list(shown) == names and len(set(shown.values())) == 3 and shown["short"] == "short"
  assert all("…" in shown[name] and shown[name].endswith(f"#{i + 1}") for i, name in enumerate(names[:2]))
  assert all(drawing.text_width(text, 8) <= 1.0 for text in shown.values())


def test_long_texts_are_wrapped_and_then_cut():
  text = drawing.wrapped("one two three four five six", 0.6, 8, lines=2)
  assert text.count("\n") == 1 and text.startswith("one two\n") and "…" in text and text.endswith("six")


def test_tables_of_an_analysis_by_hand():
  ratios, votes, detection, covariances = reporting.tables_of_analysis({"at": _analysis()})
  record = _analysis()
  assert ratios.header == ("Model", "r at 0.05", "classes left out", "r at 0.2", "classes left out")
  left_out = record.separation[0].left_out
  assert ratios.rows[0][1] == "1.808" and ratios.rows[0][2].startswith(f"{len(left_out)} of 10: ")
  assert votes.rows[0][:2] == ("at", "55.33% (47.0-63.4)") and votes.rows[0][4:] == ("14.67%", "2.67%", "0.00%")
  assert detection.rows[0][1:3] == ("full", "0.5623 (0.446-0.671)")
  assert covariances.header[1:3] == ("full, misclassified", "full, adversarial")
  assert covariances.rows[0][1:3] == ("0.5623", "0.7984")


def test_tables_of_an_analysis_have_means_over_seeds():
  first = _analysis()
  second = first.replace(config=first.config | {"seed": 7}, separation_ratio={})
  second = second.replace(
    separation=[dataclasses.replace(entry, ratio=entry.ratio + 0.5) for entry in first.separation]
  )
  ratios, votes, detection, covariances = reporting.tables_of_analysis({"at_0": first, "at_7": second})
  assert ratios.rows[-1][:2] == ("at_* (2 seeds)", "2.058 ± 0.354") and ratios.rows[-1][2] == ratios.rows[0][2]
  assert votes.rows[-1][1] == "55.33% ± 0.00" and detection.rows[-1][1:3] == ("full", "0.5623 ± 0.0000")
  assert covariances.rows[-1][1] == "0.5623 ± 0.0000" and len(covariances.rows) == 3


def test_a_sprite_of_many_large_pictures_fits_a_browser(tmp_path):
  images = np.zeros((900, 300, 200, 3), np.uint8)
  reporting.write_projector(tmp_path, np.zeros((900, 2)), images, {"class": ["a\tb"] * 900, "n": list(range(900))})
  with Image.open(tmp_path / "projector" / "sprite.png") as sprite:
    assert sprite.size == (30 * 42, 30 * 64)
  assert "single_image_dim: 42\n    single_image_dim: 64" in (tmp_path / "projector_config.pbtxt").read_text()
  assert (tmp_path / "projector" / "metadata.tsv").read_text().splitlines()[1] == "a b\t0"


# --------------------------------------------------------------------------- report


FACTS = DataFacts("d", (8, 8, 1), 10, tuple("0123456789"), None)


def _run(folder, method="tla", evaluation=None, metrics=METRICS, **settings):
  found = RunFolder(folder)
  found.write_config(TrainingConfig(method=method, **settings), FACTS, {})
  found.write_metrics(metrics)
  if evaluation:
    EvaluationBook([evaluation]).write(found.evaluation)
  return reporting.read_run(folder.name, found)


def _text(runs):
  return reporting.to_markdown(reporting.make_report(runs), "figures")


def test_report_of_nothing_but_settings_says_what_is_missing(tmp_path):
  text = _text([_run(tmp_path / "bare", metrics=[])])
  for words in (
    "Missing for bare: training curves",
    "`tla-evaluate --run_dir=",
    "`tla-analyze --run_dir=",
    "| bare | tla | mlp | missing | missing | missing | missing | missing |",
  ):
    assert words in text
  assert "![" not in text


def test_report_names_only_the_runs_that_lack_something(tmp_path):
  alarm = Alarm("ZERO_GRADIENTS", "Seen.", "Why.", "Remedy.")
  whole = _run(tmp_path / "a", evaluation=_results(0.9, 0.3, FGSM=0.4).replace(alarms=[alarm], notes=["A note."]))
  text = _text([whole, _run(tmp_path / "b", method="at")])
  assert "Missing for b: accuracy under attack" in text
  assert "Missing for a: accuracy under attack" not in text
  assert "`ZERO_GRADIENTS` (a): Seen. Why. Remedy." in text
  assert "Alarms were raised (a 1)" in text
  assert "Missing for a: accuracy against epsilon" in text
  assert "| FGSM | 40.00% (30.0-50.0) |" in text
  assert "a: A note." in text


def test_report_states_the_heldout_accuracy_of_the_checkpoint_that_it_speaks_of(tmp_path):
  rows = [
    {"step": step, "loss": 1.0, "val_accuracy": clean, "val_robust_accuracy": robust}
    for step, clean, robust in ((10, 0.5, 0.4), (20, 0.9, 0.3), (30, 0.8, 0.2))
  ]
  attack = AttackConfig(epsilon=8 / 255, steps=7, step_size=2 / 255)
  settings = {"metrics": rows, "validation_attack": attack, "validation_examples": 70}
  judged = _run(tmp_path / "judged", evaluation=_results(0.9, 0.3, FGSM=0.4).replace(checkpoint=30), **settings)
  gone = _run(tmp_path / "gone", evaluation=_results(0.9, 0.3, FGSM=0.4).replace(checkpoint=15), **settings)
  text = _text([judged, gone, _run(tmp_path / "at", "at", **settings), _run(tmp_path / "um", "um", **settings)])
  named = "PGD, 7 steps of 2/255, L-inf epsilon 8/255"
  assert f"| judged | 30 | 80.00% | 20.00% | {named} | 70 |" in text
  assert f"| gone | 15 | - | - | {named} | 70 |" in text
  # Unjudged, the best: by robust accuracy, and undefended by clean accuracy.
  assert f"| at | 10 | 50.00% | 40.00% | {named} | 70 |" in text
  assert f"| um | 20 | 90.00% | 30.00% | {named} | 70 |" in text


def test_report_shows_settings_that_differ_and_hides_those_without_effect(tmp_path):
  text = _text([_run(tmp_path / "um", method="um"), _run(tmp_path / "tla", weight_decay=0.5, label_smoothing=0.125)])
  lines = text.splitlines()
  # An undefended training has no attack, and nothing of a triplet.
  assert "| attack.epsilon | - | 0.3 |" in lines
  assert "| recipe.triplet.weight | - | 0.5 |" in lines
  assert lines.index("| recipe.triplet.weight | - | 0.5 |") < lines.index("### All other settings")
  assert not any(
    line.startswith("| recipe.memory_bank_size |") for line in lines[: lines.index("### All other settings")]
  )
  assert lines.index("| label_smoothing | 0 | 0.125 |") < lines.index("### All other settings")
  assert lines.index("| keep_checkpoints | 2 | 2 |") > lines.index("### All other settings")


def test_report_keeps_apart_what_was_judged_otherwise(tmp_path):
  first = _run(tmp_path / "a", evaluation=_results(0.9, 0.3, FGSM=0.4).replace(probes=PROBES))
  other = dataclasses.replace(PROBES, epsilon=0.1)
  second = _run(tmp_path / "b", evaluation=_results(0.9, 0.3, 0.1, FGSM=0.4).replace(probes=other))
  text = _text([first, second])
  assert "suite quick, L-inf epsilon 0.2" in text and "suite quick, L-inf epsilon 0.1" in text
  assert text.count("![accuracy curves") + text.count("![accuracy_curves") == 2


def test_report_names_a_metric_that_is_no_number(tmp_path):
  _run(tmp_path / "a")
  (tmp_path / "a" / "metrics.jsonl").write_text('{"step": 10, "loss": "low"}\n')
  with pytest.raises(InputError, match="metrics.jsonl: damaged, line 1 has 'loss', which is no number"):
    reporting.read_run("a", RunFolder.open(tmp_path / "a"))


@pytest.mark.parametrize(
  "content, words",
  [
    ("{", "not JSON"),
    ('{"clean": {}}', "'evaluations\[0\].clean.accuracy' is missing.*tla-evaluate again"),
    ("[]", "not a JSON object"),
    (
      '{"format": 5}',
      "format 5 of evaluation.json is newer than this release reads \\(4\\); use the release that made it",
    ),
  ],
)
def test_report_names_a_damaged_result(tmp_path, content, words):
  _run(tmp_path / "a")
  (tmp_path / "a" / "evaluation.json").write_text(content)
  with pytest.raises(InputError, match=f"evaluation.json.*{words}"):
    reporting.read_run("a", RunFolder.open(tmp_path / "a"))


def test_report_names_the_field_of_a_result_of_another_form(tmp_path):
  _run(tmp_path / "a")
  content = EvaluationBook([_results(0.9, 0.3, FGSM=0.4)]).to_dict()
  content["evaluations"][0]["attacks"] = [{"name": "FGSM"}]
  files.write_text(tmp_path / "a" / "evaluation.json", json.dumps(content))
  with pytest.raises(
    InputError, match=r"a/evaluation.json.*'evaluations\[0\].attacks\[0\].suite' is missing.*run tla-evaluate again"
  ):
    reporting.read_run("a", RunFolder.open(tmp_path / "a"))


def test_report_refuses_arrays_of_other_classes(tmp_path):
  run = RunFolder(tmp_path / "a")
  _run(tmp_path / "a")
  _arrays().write(run.analysis_arrays)
  record = _analysis().replace(arrays_digest=files.digest(run.analysis_arrays))
  record.replace(class_names=["cat"] * 12).write(run.analysis)
  assert reporting.read_run("a", run).analysis.class_names == ["cat"] * 12
  record.replace(class_names=["cat", "dog"]).write(run.analysis)
  with pytest.raises(InputError, match="analysis.npz: names classes beyond the 2 of .*; run tla-analyze again"):
    reporting.read_run("a", run)


def test_a_fault_of_ours_is_not_called_a_fault_of_a_file(tmp_path, monkeypatch):
  run = _run(tmp_path / "a", evaluation=_results(0.9, 0.3, FGSM=0.4))
  for fault in (KeyError, AttributeError, TypeError, ValueError, IndexError):

    def faulty(*_, fault=fault):
      raise fault("ours")

    monkeypatch.setattr("tla_tf.reporting.report_robustness.suite_groups", faulty)
    with pytest.raises(fault, match="ours") as caught:
      reporting.make_report([run])
    assert not isinstance(caught.value, InputError)
