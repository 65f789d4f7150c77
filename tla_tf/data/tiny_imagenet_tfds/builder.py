"""The TFDS builder of Tiny ImageNet, in a folder of its own as TFDS asks."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from tla_tf.data import decoding, tiny_imagenet_files
from tla_tf.data.labelled_files import LabelledFiles

_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
  """200 classes of 64x64 colour images: 100,000 for training, 10,000 for validation.

  Downloads the official archive. Classes are in the order of `wnids.txt`; the
  official test images, which have no labels, are left out.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}

  def _info(self) -> tfds.core.DatasetInfo:
    features = tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(64, 64, 3)),
        "label": tfds.features.ClassLabel(),
        "file_name": tfds.features.Text(),
      }
    )
    return self.dataset_info_from_configs(
      features=features,
      supervised_keys=("image", "label"),
      homepage="http://cs231n.stanford.edu",
      description="Tiny ImageNet: a part of ImageNet at 64x64 pixels.",
      citation="Stanford CS231n.",
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, dict]]]:
    folder = pathlib.Path(dl_manager.download_and_extract(_URL)) / "tiny-imagenet-200"
    names, train, validation = tiny_imagenet_files.list_files(folder)
    self.info.features["label"].names = names
    return {"train": self._generate_examples(train), "validation": self._generate_examples(validation)}

  def _generate_examples(self, files: LabelledFiles) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, label in zip(*files):
      yield path.name, {"image": decoding.read_image(path, (64, 64)), "label": label, "file_name": path.name}
