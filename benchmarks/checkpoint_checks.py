"""What it costs that no checkpoint with NaN or infinity is written or read, of a wide residual network with momentum.

  python benchmarks/checkpoint_checks.py [--network wrn_32_10] [--rounds 5]

Saves and loads a checkpoint with and without its look at the values, in turn, and prints the medians in seconds.
"""

import argparse
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--network", default="wrn_32_10")
  parser.add_argument("--rounds", type=int, default=5)
  arguments = parser.parse_args()

  import keras

  from tla_tf import networks
  from tla_tf.persistence import CheckpointStore, checkpoints

  network = networks.build(arguments.network, (32, 32, 3), 10, seed=0)
  optimizer = keras.optimizers.SGD(momentum=0.9)
  optimizer.build(network.trainable_variables)
  state = {"network": network, "optimizer": optimizer}
  variables = [variable for part in state.values() for variable in part.variables]
  looks = {"with the look": checkpoints._is_finite, "without": lambda values: True}  # noqa: SLF001
  with tempfile.TemporaryDirectory() as folder:
    store = CheckpointStore(folder)
    works = {
      "save": lambda: store.save(1, state, {}),
      "resume": lambda: store.restore(1, state),
      "load to judge": lambda: store.restore_judged(1, network),
      "the look alone": lambda: [checkpoints._is_finite(variable.numpy()) for variable in variables],  # noqa: SLF001
    }
    seconds = {(work, way): [] for work in works for way in looks}
    for _ in range(arguments.rounds):
      for way, look in looks.items():
        checkpoints._is_finite = look  # noqa: SLF001
        for work, do in works.items():
          began = time.perf_counter()
          do()
          seconds[work, way].append(time.perf_counter() - began)
  print(
    f"{sum(variable.numpy().size for variable in variables):,} values; medians of {arguments.rounds} rounds, seconds"
  )
  for work in works:
    print(f"{work:15}", *(f"{way} {statistics.median(seconds[work, way]):.2f}" for way in looks))


if __name__ == "__main__":
  main()
