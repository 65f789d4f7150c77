"""Reading images: from disk, from the cache, and into a training step.

  python benchmarks/reading.py                 # random files, made for the occasion
  python benchmarks/reading.py --tiny DIR      # a real tiny-imagenet-200 instead

Prints seconds, memory, and the time of training steps fed from the stream over
that of steps on one constant batch (at most 1.03).
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image
from side_by_side import measure, report

from tla_tf import data, datasets, published
from tla_tf.data import cache
from tla_tf.training import build_model

_BLOCK = 10


def noise(count, size, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def write_cifar10(folder):
  """Six files of 10,000 random records."""
  for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
    records = np.concatenate([np.arange(10_000)[:, None] % 10, noise(10_000, 32, i).reshape(10_000, -1)], axis=1)
    (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())


def write_tiny_imagenet(folder, classes=20):
  """500 training and 50 validation JPEGs a class, smooth enough to compress like photographs."""
  names = [f"n{i:08d}" for i in range(classes)]
  (folder / "wnids.txt").write_text("\n".join(names) + "\n")
  images = [Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC) for small in noise(50, 12)]
  (folder / "val" / "images").mkdir(parents=True)
  lines = []
  for c, name in enumerate(names):
    (folder / "train" / name / "images").mkdir(parents=True)
    for i in range(500):
      images[i % 50].save(folder / "train" / name / "images" / f"{name}_{i}.JPEG")
    for i in range(50):
      file_name = f"val_{50 * c + i}.JPEG"
      images[i].save(folder / "val" / "images" / file_name)
      lines.append(f"{file_name}\t{name}\t0\t0\t63\t63")
  (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")


def timed(what, function):
  began = time.perf_counter()
  result = function()
  seconds = time.perf_counter() - began
  print(f"  {what:<58} {seconds:8.2f} s")
  return result, seconds


def memory():
  """MiB that the process itself holds, maps of files left out."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def reading(scratch, tiny):
  """Times the readers; returns whether the requirement holds."""
  print("\nreading")
  write_cifar10(scratch)
  _, seconds = timed("CIFAR-10, 60,000 records, binary version", lambda: datasets.load("cifar10", scratch))
  if tiny is None:
    tiny = scratch / "tiny"
    tiny.mkdir()
    write_tiny_imagenet(tiny)
  load = lambda: datasets.load("tiny_imagenet", tiny, cache_dir=scratch / "cache")  # noqa: E731
  splits, _ = timed("Tiny ImageNet, first time: decoded and cached", load)
  timed(f"the same {len(splits.train) + len(splits.heldout) + len(splits.test):,} images from the cache", load)
  print(f"  {'ok  ' if seconds < 2 else 'MISS'} CIFAR-10: {seconds:.2f} s (at most 2)")
  return seconds < 2


def large_set(scratch):
  """Memory that 100,000 images of 64x64 take, loaded from the cache and streamed."""
  print("\n100,000 images of 64x64 (1,172 MiB)")
  count = 100_000

  def make(folder):
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 64, 64, 3))
    for i in range(0, count, 1000):
      images[i : i + 1000] = noise(1000, 64, i)

  cache.load(scratch / "cache", "f" * 32, make)
  tf.constant(0)
  before = memory()
  arrays, _ = timed("loaded from the cache, digests checked", lambda: cache.load(scratch / "cache", "f" * 32, make))
  images = data.ImageData(arrays["images"], np.arange(count) % 200, tuple(map(str, range(200))))
  stream = data.BatchStream(images, 50, 0, True, 500, augment_pad=4, augment_flip=True)
  timed("100 batches of 50 + 50 + 500", lambda: [batch["label"].numpy() for batch in stream.dataset(0, 100)])
  print(f"  memory of the process: {before:.0f} MiB before, {memory():.0f} MiB after")


def steps(config, size, batches):
  """A function that runs a block of training steps."""
  model, _ = build_model(config, (size, size, 3), 10)
  model.make_train_function()
  iterator = iter(batches)

  def run():
    for _ in range(_BLOCK):
      loss = model.train_function(iterator)["loss"]
    return loss

  return run


def feeding(network, method, repeats):
  """Steps from the stream against steps on a constant batch; returns whether the requirement holds."""
  config = published.setting("cifar10", method, network).replace(attack_mode="inference")
  if method != "at":
    config = config.replace(negative_pool_size=100)
  images = data.ImageData(noise(20_000, 32), np.arange(20_000) % 10, tuple("0123456789"))
  stream = data.BatchStream(
    images, config.batch_size, 0, method != "at", 100 if method != "at" else 0, config.augment_pad, config.augment_flip
  )
  constant = tf.data.Dataset.from_tensors(stream.batch(tf.constant(0))).cache().repeat()
  seconds = measure(
    {"constant batch": steps(config, 32, constant), "from the stream": steps(config, 32, stream.dataset(0, 10**6))},
    repeats,
  )
  return report(
    f"{_BLOCK} {method} steps, {network}, CIFAR-10", seconds, "constant batch", [("from the stream", "at most", 1.03)]
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--tiny", type=pathlib.Path, help="a tiny-imagenet-200 folder")
  parser.add_argument("--repeats", type=int, default=7)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    good = reading(pathlib.Path(folder), arguments.tiny)
    large_set(pathlib.Path(folder))
  for network, method in (("convnet_16", "tla"), ("convnet_16", "at"), ("wrn_10_2", "tla")):
    good &= feeding(network, method, arguments.repeats)
  sys.exit(0 if good else 1)


if __name__ == "__main__":
  main()
