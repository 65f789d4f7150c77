"""Tables, figures, the document in HTML and Markdown, and the report of run folders."""

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tla_tf import files, reporting
from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError
from tla_tf.persistence import RunFolder
from tla_tf.reporting import document as doc
from tla_tf.reporting import figures, markdown_table, print_table, suite_table
from tla_tf.reporting.tables import Table

PNG = b"\x89PNG"


# --------------------------------------------------------------------------- tables


def _results(clean, worst, **attacks):
  whole = {"accuracy": worst, "interval": [worst - 0.1, worst + 0.1]}
  return {
    "clean": {"accuracy": clean, "num_examples": 40, "interval": [clean - 0.1, clean + 0.05]},
    "worst_case": {**whole, "by_suite": {"quick": whole}},
    "config": {"dataset": "digits"},
    "attacks": [
      {
        "name": name,
        "suite": "quick",
        "accuracy": accuracy,
        "interval": [accuracy - 0.1, accuracy + 0.1],
        "norm": "linf",
        "epsilon": 0.2,
        "on_survivors": False,
      }
      for name, accuracy in attacks.items()
    ],
    "alarms": [],
    "probes": None,
    "checkpoint": 30,
    "checkpoint_digest": "abc",
  }


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


class _Reader(HTMLParser):
  """Collects tags, what they refer to, and text."""

  def __init__(self, page):
    super().__init__()
    self.tags, self.references, self.text = [], [], []
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.references += [value for name, value in attrs if name in ("src", "srcset", "href", "data", "action", "style")]

  def handle_data(self, text):
    self.text.append(text)


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
  found = _Reader(page)
  assert not {"script", "link", "iframe", "object", "embed"} & set(found.tags)
  assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in found.references)
  (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
  assert "url(" not in style and "@import" not in style
  assert "default-src 'none'" in page
  assert "".join(found.text).count('<script>alert("x")</script>') >= 6
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
def test_titles_and_legends_fit_the_figures_of_one_model(draw, name, monkeypatch):
  seen = []
  monkeypatch.setattr("tla_tf.reporting.analysis_figures.save", lambda figure, path: seen.append(figure))
  draw({"tla": _arrays()}, [f"{name} {i}" for i in range(12)], None)
  (figure,) = seen
  figure.canvas.draw()
  for artist in (figure._suptitle, *figure.legends):  # noqa: SLF001
    extent = artist.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ["x_$^{_$", "US$ and A$", "[b]"])
def test_class_names_are_shown_as_they_are(name, capsys):
  picture = io.BytesIO()
  for draw in (reporting.tsne_of_class, reporting.tsne_of_pair, reporting.retrieval):
    draw({"tla": _arrays()}, [name] * 12, picture)
  print_table(Table("Title", ("Model", name), ((name, "1"),)))
  assert capsys.readouterr().out.count(name) == 2


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


@pytest.mark.parametrize("runs", [{"tla": METRICS}, {"um": METRICS, "tla": METRICS[:1]}])
def test_training_curves_of_one_and_of_several_runs(runs, tmp_path):
  path = figures.training_curves(runs, tmp_path / "figures" / "training.png", "title")
  assert path.read_bytes().startswith(PNG)
  assert [entry.name for entry in path.parent.iterdir()] == ["training.png"]


def _arrays(queries=2, side=8, channels=1):
  """Arrays as of `analysis.npz`, with classes that occur and some that do not."""
  rng = np.random.default_rng(0)
  return {
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


@pytest.mark.parametrize("arrays", [_arrays(), _arrays(queries=0), _arrays(channels=3)])
@pytest.mark.parametrize("draw", [reporting.tsne_of_class, reporting.tsne_of_pair, reporting.retrieval])
def test_figures_of_the_analysis_are_drawn_for_any_number_of_models(draw, arrays):
  names = [f"a rather long class name {i}" for i in range(12)]
  for models in ({"tla": arrays}, {"um": arrays, "at": arrays, "tla": arrays}):
    picture = io.BytesIO()
    draw(models, names, picture)
    assert picture.getvalue().startswith(PNG)


def test_roc_says_where_there_is_nothing_to_find():
  picture = io.BytesIO()
  reporting.roc_curves(
    {"at": _arrays()}, {"at": {"detection": {"auc_misclassified": 0.7, "auc_adversarial": None}}}, picture
  )
  assert picture.getvalue().startswith(PNG)


def test_a_sprite_of_many_large_pictures_fits_a_browser(tmp_path):
  images = np.zeros((900, 300, 200, 3), np.uint8)
  reporting.write_projector(tmp_path, np.zeros((900, 2)), images, {"class": ["a\tb"] * 900, "n": list(range(900))})
  with Image.open(tmp_path / "projector" / "sprite.png") as sprite:
    assert sprite.size == (30 * 42, 30 * 64)
  assert "single_image_dim: 42\n    single_image_dim: 64" in (tmp_path / "projector_config.pbtxt").read_text()
  assert (tmp_path / "projector" / "metadata.tsv").read_text().splitlines()[1] == "a b\t0"


# --------------------------------------------------------------------------- report


FACTS = {
  "digest": "d",
  "image_shape": [8, 8, 1],
  "num_classes": 10,
  "class_names": list("0123456789"),
  "data_dir": None,
}


def _run(folder, method="tla", evaluation=None, metrics=METRICS, **settings):
  found = RunFolder(folder)
  found.write_config(TrainingConfig(method=method, **settings), FACTS, {})
  found.write_metrics(metrics)
  if evaluation:
    files.write_text(found.evaluation, json.dumps(evaluation))
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
  alarm = {"code": "ZERO_GRADIENTS", "seen": "Seen.", "why": "Why.", "remedy": "Remedy."}
  whole = _run(tmp_path / "a", evaluation={**_results(0.9, 0.3, FGSM=0.4), "alarms": [alarm]})
  text = _text([whole, _run(tmp_path / "b", method="at")])
  assert "Missing for b: accuracy under attack" in text
  assert "Missing for a: accuracy under attack" not in text
  assert "`ZERO_GRADIENTS` (a): Seen. Why. Remedy." in text
  assert "Alarms were raised (a 1)" in text
  assert "Missing for a: accuracy against epsilon" in text
  assert "| FGSM | 40.00% (30.0-50.0) |" in text


def test_report_shows_settings_that_differ_and_hides_those_without_effect(tmp_path):
  text = _text([_run(tmp_path / "um", method="um"), _run(tmp_path / "tla", weight_decay=0.5, label_smoothing=0.125)])
  lines = text.splitlines()
  assert "| attack.epsilon | - | 0.3 |" in lines
  assert "| triplet.weight | - | 0.5 |" in lines
  assert lines.index("| label_smoothing | 0 | 0.125 |") < lines.index("### All other settings")
  assert lines.index("| keep_checkpoints | 2 | 2 |") > lines.index("### All other settings")


@pytest.mark.parametrize(
  "content, words", [("{", "not JSON"), ('{"clean": {}}', "attacks"), ("[]", "not a JSON object")]
)
def test_report_names_a_damaged_result(tmp_path, content, words):
  _run(tmp_path / "a")
  (tmp_path / "a" / "evaluation.json").write_text(content)
  with pytest.raises(InputError, match=f"evaluation.json.*{words}"):
    reporting.read_run("a", RunFolder.open(tmp_path / "a"))


def test_report_names_the_run_of_a_result_of_another_form(tmp_path):
  run = _run(tmp_path / "a", evaluation={**_results(0.9, 0.3, FGSM=0.4), "attacks": [{"name": "FGSM"}]})
  with pytest.raises(InputError, match="tla-evaluate"):
    reporting.make_report([run])
