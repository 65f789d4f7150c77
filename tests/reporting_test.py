"""Tables, the document in HTML and Markdown, and the report of run folders."""


import pytest

from tla_tf.reporting import markdown_table, print_table, suite_table

PNG = b"\x89PNG"


# --------------------------------------------------------------------------- tables


def _results(clean, worst, **attacks):
  whole = {"accuracy": worst, "interval": [worst - 0.1, worst + 0.1]}
  return {
    "clean": {"accuracy": clean, "num_examples": 40, "interval": [clean - 0.1, clean + 0.05]},
    "worst_case": {**whole, "by_suite": {"quick": whole}}, "config": {"dataset": "digits"},
    "attacks": [{"name": name, "suite": "quick", "accuracy": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1],
                 "norm": "linf", "epsilon": 0.2, "on_survivors": False} for name, accuracy in attacks.items()],
    "alarms": [], "probes": None, "checkpoint": 30, "checkpoint_digest": "abc",
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
  assert lines[-1] == ["runs/a_rather_long_name", "99.01%", "91.00%", "82.00%", "73.00%", "64.00%", "55.00%", "46.00%",
                       "37.00%", "34.56%", "24.6-44.6%"]  # fmt: skip
