"""tla-train-digits: trains on scikit-learn's embedded digits.

Example:
  tla-train-digits --method=tla --train_steps=1000 --output_dir=runs/digits
"""

from tla_tf.binaries import entry, training_flags

training_flags.define("digits")


def main(argv):
  """Trains as the flags say."""
  entry.refuse_arguments(argv)
  training_flags.train("digits")


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
