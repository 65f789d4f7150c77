"""tla-train-images: trains on your own image folders.

Example:
  tla-train-images --data_dir=DIR --image_size=64 --resize=crop --network=wrn_10_2 --output_dir=runs/mine
"""

from tla_tf.binaries import entry, training_flags

training_flags.define("images")


def main(argv):
  """Trains as the flags say."""
  entry.refuse_arguments(argv)
  training_flags.train("images")


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
