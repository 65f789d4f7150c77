"""The other side of `against_torch.py`, in the environment that has PyTorch: PGD of torchattacks, once a line of input.

It reads the arrays that `against_torch.py` writes, builds the same network, prints by how much its logits differ, and
then attacks whenever a line comes in.
"""

import argparse
import sys

import numpy as np
import torch
import torchattacks


def build(arrays, layers):
  """The network of the arrays: dense and convolutional units, each with batch normalisation and ReLU, then logits."""
  parts, channels_last = [], None
  for name in layers:
    kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
    if kernel.ndim == 4:
      height, width, given, filters = kernel.shape
      layer = torch.nn.Conv2d(given, filters, (height, width), padding="same")
      kernel = kernel.transpose(3, 2, 0, 1)
      channels_last = filters
    else:
      if not any(isinstance(part, torch.nn.Flatten) for part in parts):
        parts.append(torch.nn.Flatten())
        if channels_last:  # Our rows are ordered by place, then channel; PyTorch's the other way.
          kernel = kernel.reshape(-1, channels_last, kernel.shape[1]).transpose(1, 0, 2).reshape(kernel.shape)
      layer = torch.nn.Linear(*kernel.shape)
      kernel = kernel.T
    layer.weight.data, layer.bias.data = (torch.tensor(np.ascontiguousarray(values)) for values in (kernel, bias))
    parts.append(layer)
    if f"{name}/gamma" in arrays:
      kind = torch.nn.BatchNorm2d if kernel.ndim == 4 else torch.nn.BatchNorm1d
      normalisation = kind(len(bias), eps=1e-3)
      for ours, theirs in (
        ("gamma", "weight"),
        ("beta", "bias"),
        ("mean", "running_mean"),
        ("variance", "running_var"),
      ):
        getattr(normalisation, theirs).data = torch.tensor(arrays[f"{name}/{ours}"])
      parts += [normalisation, torch.nn.ReLU()]
    if name in ("conv2", "conv4"):
      parts.append(torch.nn.MaxPool2d(2))
  return torch.nn.Sequential(*parts).eval()


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--arrays", required=True)
  parser.add_argument("--epsilon", type=float, required=True)
  parser.add_argument("--step_size", type=float, required=True)
  parser.add_argument("--steps", type=int, required=True)
  parser.add_argument("--threads", type=int, required=True)
  options = parser.parse_args()
  torch.set_num_threads(options.threads)
  with np.load(options.arrays, allow_pickle=False) as file:
    arrays = dict(file)
  network = build(arrays, [str(name) for name in arrays["layers"]])
  images, labels = torch.tensor(arrays["images"].transpose(0, 3, 1, 2).copy()), torch.tensor(arrays["labels"]).long()
  with torch.no_grad():
    difference = np.abs(network(images).numpy() - arrays["logits"]).max()
  print(float(difference), flush=True)
  attack = torchattacks.PGD(network, options.epsilon, options.step_size, options.steps, random_start=True)
  for _ in sys.stdin:
    print(float(attack(images, labels).sum()), flush=True)


if __name__ == "__main__":
  main()
