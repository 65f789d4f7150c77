"""The training times of the paper's Table 2: a step of AT and of TLA with pools of 1 to 2000 negatives.

  python benchmarks/pool_times.py                                     # WRN-32-10, counted where a step takes long
  python benchmarks/pool_times.py --network wrn_16_2
  python benchmarks/pool_times.py --dataset mnist --network mlp

Steps are measured in turn, on noise; "mining" is to embed the pool and to pick from it.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tla_tf import published
from tla_tf.training.pool_times import POOLS, training_times


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--dataset", default="cifar10", help="whose published setting of TLA")
  parser.add_argument("--network", help="instead of the data set's")
  parser.add_argument("--pools", nargs="+", type=int, default=list(POOLS), help="their sizes")
  parser.add_argument("--batch_size", type=int, help="anchors a step; the published number by default")
  parser.add_argument("--attack_batch_size", type=int, default=0, help="images that pass at once, of pool and attack")
  parser.add_argument("--rounds", type=int, default=5, help="that medians are taken of")
  parser.add_argument("--longest", type=float, default=20.0, help="seconds of a step that is measured, not counted")
  parser.add_argument("--json", help="file that the record is written to")
  options = parser.parse_args()
  config = published.setting(options.dataset, "tla", options.network)
  config = config.replace(
    batch_size=options.batch_size or config.batch_size, attack_batch_size=options.attack_batch_size
  )
  found = training_times(config, options.pools, rounds=options.rounds, longest=options.longest, progress=print)
  if options.json:
    found.write(options.json)
  print(f"\n{found.network}, {found.dataset}, batch {found.batch_size}, {found.attack_steps} attack steps, ", end="")
  print(f"{found.rounds} rounds; {found.machine}\n")
  print("| step | mining | total | x AT | minutes per 100 steps | |\n| --- | ---: | ---: | ---: | ---: | --- |")
  for time in (found.at, *found.pools):
    cells = (
      f"TLA, pool of {time.pool:,}" if time.pool else "AT",
      f"{time.mining_seconds:.3f} s",
      f"{time.seconds:.3f} s",
      f"{time.relative:.2f}",
      f"{time.minutes_per_100_steps:.2f}",
      "measured" if time.measured else "counted",
    )
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
  main()
