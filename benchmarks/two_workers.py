"""Two worker processes with one core each against one process with one core.

  python benchmarks/two_workers.py [--json FILE]

Trains by AT in inference mode at a batch of 100 through the training loop of the tools: `mlp` with PGD-40, `lenet`
with PGD-10. The three processes stay; rounds of a few steps are run in turn, so that a noisy machine is fair to both.
It must have two idle cores, though: what else runs takes more from two processes than from one.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time

# Network: (steps of the attack, training steps of a round).
NETWORKS = {"mlp": (40, 10), "lenet": (10, 1)}
BATCH = 100
AT_LEAST = 1.6


def serve(network, place, workers):
  """One process: builds the training, then runs as many steps as it is told, line by line, and says their seconds."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1 if workers == 1 else 2)
  import functools

  import numpy as np

  from tla_tf import data, published
  from tla_tf.training import build_model, strategies
  from tla_tf.training.loop import TrainingLoop

  kind = "one_device" if workers == 1 else "multi_worker_mirrored"
  config = published.setting("mnist", "at", network).replace(
    batch_size=BATCH, attack_mode="inference", distribution_strategy=kind, replicas=workers
  )
  config = config.scaled(attack_steps=NETWORKS[network][0])
  strategy = strategies.meet(config).strategy
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (5000, 28, 28, 1), dtype=np.uint8)
  stream = data.BatchStream(data.ImageData(images, rng.integers(0, 10, 5000), tuple("0123456789")), BATCH, 0, False)
  with strategy.scope():
    model, _ = build_model(config, (28, 28, 1), 10)
  loop = TrainingLoop(model, strategy)
  done = 0
  for line in sys.stdin:
    stop = done + int(line)
    batches = strategies.deal(strategy, functools.partial(stream.dataset, done, stop))
    began = time.perf_counter()
    loop.run(batches, None, done, stop, stop, [])
    done = stop
    print(time.perf_counter() - began, flush=True)


@contextlib.contextmanager
def processes(network, count):
  """`count` processes that train together, one core each."""
  with contextlib.ExitStack() as stack:
    ports = [stack.enter_context(socket.socket()) for _ in range(count)]
    for port in ports:
      port.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in ports]
  started = []
  try:
    for place in range(count):
      known = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": place}}
      command = [sys.executable, __file__, "--serve", network, str(place), str(count)]
      environment = {**os.environ, "TF_CONFIG": json.dumps(known)}
      pipe = subprocess.PIPE
      started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
    yield started
  finally:
    for process in started:
      process.kill()
      process.wait()


def seconds(started, steps):
  """Seconds that processes need for so many steps together."""
  for process in started:
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
  return max(float(process.stdout.readline()) for process in started)


def compare(network, rounds):
  """Images per second of one and of two, and the median of the ratios within rounds."""
  steps, found = NETWORKS[network][1], {1: [], 2: []}
  with processes(network, 1) as one, processes(network, 2) as two:
    for number in range(rounds + 1):
      for count, started in ((1, one), (2, two)) if number % 2 else ((2, two), (1, one)):
        taken = seconds(started, steps)
        if number:  # The first round traces and compiles.
          found[count].append(BATCH * steps / taken)
  ratios = [b / a for a, b in zip(found[1], found[2])]
  ratio = statistics.median(ratios)
  one_, two_ = (statistics.median(found[count]) for count in (1, 2))
  verdict = "ok  " if ratio >= AT_LEAST else "MISS"
  print(
    f"{verdict} {network:<6} one {one_:8.1f}  two {two_:8.1f} images/s  ratio {ratio:.2f} (at least {AT_LEAST})",
    flush=True,
  )
  return {"network": network, "one": one_, "two": two_, "ratio": ratio, "ratios": ratios, "at_least": AT_LEAST}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", help="file for the figures")
  parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.serve:
    network, place, workers = arguments.serve
    return serve(network, int(place), int(workers))
  if len(os.sched_getaffinity(0)) < 2:
    sys.exit("two_workers.py: needs two cores.")
  rows = [compare(network, arguments.rounds) for network in NETWORKS]
  if arguments.json:
    pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")
  return int(any(row["ratio"] < AT_LEAST for row in rows))


if __name__ == "__main__":
  sys.exit(main())
