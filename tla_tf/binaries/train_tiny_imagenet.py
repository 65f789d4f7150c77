"""tla-train-tiny-imagenet: trains on Tiny ImageNet.

Example:
  tla-train-tiny-imagenet --method=at --data_dir=tiny-imagenet-200 --output_dir=runs/tiny_at
"""

from tla_tf.binaries import entry, training_flags

training_flags.define("tiny_imagenet")


def main(argv):
  """Trains as the flags say."""
  entry.refuse_arguments(argv)
  training_flags.train("tiny_imagenet")


def run():
  """Entry point of the console script."""
  entry.run(main, goes_on=True)


if __name__ == "__main__":
  run()
