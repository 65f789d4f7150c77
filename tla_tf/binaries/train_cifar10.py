"""tla-train-cifar10: trains on CIFAR-10.

Example:
  tla-train-cifar10 --method=at --data_dir=DIR --output_dir=runs/cifar10_at
  tla-train-cifar10 --method=tla --init_from=runs/cifar10_at --data_dir=DIR --output_dir=runs/cifar10_tla
"""

from tla_tf.binaries import entry, training_flags

training_flags.define("cifar10")


def main(argv):
  """Trains as the flags say."""
  entry.refuse_arguments(argv)
  training_flags.train("cifar10")


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
