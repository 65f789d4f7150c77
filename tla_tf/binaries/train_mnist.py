"""tla-train-mnist: trains on MNIST.

Example:
  tla-train-mnist --method=tla --train_steps=1000 --output_dir=runs/mnist --data_dir=...
"""

from tla_tf.binaries import entry, training_flags

training_flags.define("mnist")


def main(argv):
  """Trains as the flags say."""
  entry.refuse_arguments(argv)
  training_flags.train("mnist")


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
