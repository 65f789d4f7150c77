"""tla-reproduce on the command line."""

import cli_support as cli
import pytest


@pytest.mark.parametrize(
  "arguments, words",
  [
    (("--table=7",), "--table=7: "),
    (("--table=2", "--dataset=mnist"), "--dataset=mnist: Table 2 is not of it"),
    (("--table=4", "--scale=long"), "['published', 'short'], or the .yaml file of a plan of your own"),
    (("--table=4", "--dataset=mnist", "--only=tlaa"), "--only=tlaa: did you mean 'tla'?"),
    (("--table=4", "--dataset=mnist"), "Give --output_dir, the folder of the tables, or --dry_run."),
    (("--data_dir=nowhere", "--output_dir=out", "--table=4"), "nowhere/mnist: no such folder; of several data sets"),
    (("stray",), "Unexpected argument 'stray'"),
  ],
)
def test_wrong_choices_end_in_one_sentence(tmp_path, arguments, words):
  done = cli.run("tla-reproduce", *arguments, cwd=tmp_path)
  cli.assert_refused(done, words)
  assert list(tmp_path.iterdir()) == []
