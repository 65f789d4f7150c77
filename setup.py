"""Package tla_tf: library and console scripts."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(r'__version__ = "([^"]+)"', (_ROOT / "tla_tf/__init__.py").read_text())[1]

setuptools.setup(
  name="tla_tf",
  version=_VERSION,
  description="Adversarial robustness by metric learning (TLA), on TensorFlow 2 and Keras 3",
  long_description=(_ROOT / "README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  author="The tla_tf authors",
  license="Apache-2.0",
  license_files=["LICENSE"],
  keywords=["adversarial robustness", "adversarial training", "metric learning", "triplet loss", "TensorFlow", "Keras"],
  classifiers=[
    "Development Status :: 4 - Beta",
    "Environment :: Console",
    "Intended Audience :: Science/Research",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.10",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Recognition",
    "Typing :: Typed",
  ],
  project_urls={"Paper": "https://arxiv.org/abs/1909.00900"},
  python_requires=">=3.10,<3.14",
  packages=[*setuptools.find_packages(include=["tla_tf", "tla_tf.*"]), "tla_tf.flags"],
  # The published settings go into the package, where --preset finds them.
  package_dir={"tla_tf.flags": "flags"},
  package_data={
    "tla_tf": ["py.typed"],
    "tla_tf.flags": ["*.flags"],
    "tla_tf.persistence": ["*.yaml"],
    "tla_tf.reproducing": ["*.yaml", "grids/*.yaml"],
  },
  # Bounds are the versions of requirements/: `make test-oldest` and `make test-newest` test them.
  install_requires=[
    "absl-py>=2.0",
    "cleverhans>=4.0",
    "h5py>=3.11",
    "importlib_resources",  # tensorflow-datasets imports it without requiring it everywhere
    "keras>=3.10,<3.16",
    "matplotlib>=3.8",
    "numpy>=1.26",
    "pillow>=10.1",
    "pyyaml>=6",
    "rich>=13",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "tensorboard>=2.18",
    "tensorflow>=2.18,<2.22",
    "tensorflow-datasets>=4.9.7",
    "threadpoolctl>=3.1",
  ],
  extras_require={
    "crosscheck": ["adversarial-robustness-toolbox>=1.20", "foolbox>=3.3.4"],
    "gpu": ["tensorflow[and-cuda]>=2.18,<2.22"],
    "onnx": ["onnxruntime>=1.20", "tf2onnx>=1.17"],
    "docs": ["mkdocs>=1.6", "mkdocstrings[python]>=1.0", "ruff>=0.6"],
    "dev": [
      "adversarial-robustness-toolbox>=1.20",
      "foolbox>=3.3.4",
      "hypothesis>=6.100",
      "markdown-it-py>=3",
      "mypy>=1.15",
      "onnxruntime>=1.20",
      "protobuf",
      "pytest>=8",
      "pytest-xdist>=3.5",
      "ruff>=0.6",
      "tf2onnx>=1.17",
    ],
  },
  entry_points={
    "console_scripts": [
      "tla-train = tla_tf.binaries.train:run",
      "tla-train-digits = tla_tf.binaries.train:run",
      "tla-train-mnist = tla_tf.binaries.train:run",
      "tla-train-cifar10 = tla_tf.binaries.train:run",
      "tla-train-tiny-imagenet = tla_tf.binaries.train:run",
      "tla-train-images = tla_tf.binaries.train:run",
      "tla-import-tf1 = tla_tf.binaries.import_tf1:run",
      "tla-evaluate = tla_tf.binaries.evaluate:run",
      "tla-analyze = tla_tf.binaries.analyze:run",
      "tla-report = tla_tf.binaries.report:run",
      "tla-compare = tla_tf.binaries.compare:run",
      "tla-reproduce = tla_tf.binaries.reproduce:run",
      "tla-export = tla_tf.binaries.export:run",
    ]
  },
)
