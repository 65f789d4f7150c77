"""PGD of torchattacks on PyTorch against ours: the same network, weights, images, radius and steps.

  make bench-torch

PyTorch lives in an environment and a process of its own, `torch_pgd.py`, which attacks when it is told to:
both take turns. Each uses all cores. Before anything is measured the logits of both networks must agree.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import attacks
import numpy as np
from side_by_side import measure, ratios, report

AGREEMENT = 1e-3
# Network -> (steps, batch, which of ours is compared).
COMPARED = {"mlp": (40, 100, "ours"), "lenet": (10, 50, "ours, bfloat16")}


def arrays(network, images, labels):
  """Weights by layer, inputs and logits, as `torch_pgd.py` reads them."""
  found = {"images": images.numpy(), "labels": labels.numpy(), "logits": network(images)["logits"].numpy()}
  names = []
  for layer in network.layers:
    values = layer.get_weights()
    if len(values) == 2:
      names.append(layer.name)
      found |= {f"{layer.name}/kernel": values[0], f"{layer.name}/bias": values[1]}
    elif len(values) == 4:
      unit = layer.name.removesuffix("_bn")
      found |= {f"{unit}/{name}": value for name, value in zip(("gamma", "beta", "mean", "variance"), values)}
  return {**found, "layers": np.array(names)}


def compare(name, torch_python, rounds):
  """(ratios torchattacks / ours, seconds by name) of one network."""
  steps, batch, ours = COMPARED[name]
  network, images, labels = attacks.example(name, batch)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "arrays.npz"
    np.savez(path, **arrays(network, images, labels))
    settings = {
      "arrays": path,
      "epsilon": attacks.EPSILON,
      "step_size": attacks.STEP_SIZE,
      "steps": steps,
      "threads": os.cpu_count(),
    }
    script = pathlib.Path(__file__).with_name("torch_pgd.py")
    command = [torch_python, str(script), *(f"--{flag}={value}" for flag, value in settings.items())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
      difference = float(other.stdout.readline() or "nan")
      if not difference <= AGREEMENT:
        sys.exit(f"{name}: logits of PyTorch's network differ from ours by {difference}, more than {AGREEMENT}.")

      def torchattacks():
        other.stdin.write("\n")
        other.stdin.flush()
        return float(other.stdout.readline())

      functions = {
        "ours": attacks.ours(network, images, labels, steps),
        "ours, bfloat16": attacks.ours(network, images, labels, steps, precision="bfloat16"),
        "torchattacks": torchattacks,
      }
      seconds = measure(functions, rounds)
      other.stdin.close()
  report(f"PGD-{steps} on {name}, batch {batch}; logits differ by {difference:.1e}", seconds, ours)
  return ratios(seconds, "torchattacks", ours), seconds


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--torch_python", required=True, help="Python of the environment that has PyTorch")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", default="build/bench_torch.json", help="file that the ratios are written to")
  options = parser.parse_args()
  found = {name: compare(name, options.torch_python, options.rounds) for name in COMPARED}
  path = pathlib.Path(options.json)
  path.parent.mkdir(parents=True, exist_ok=True)
  content = {key: {name: values[i] for name, values in found.items()} for i, key in enumerate(("ratios", "seconds"))}
  path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
  main()
