"""One table of all that is asked of speed: ratios within rounds, their medians and spreads.

  make bench                                          # all of it, build/bench.json
  python benchmarks/targets.py --only mlp training    # some sections
  python benchmarks/targets.py --rounds 1 --only lenet

Whatever is compared is measured in turn within every round, in a new order each
time. PGD: every library attacks the same network, images and labels with the
same radius, step size and number of steps. The floor of a float32 attack is the
faster of its bare passes in one compiled graph and cleverhans's form, one
compiled pass a step. What falls short is marked MISS, what could not be measured
says why; the exit status is 1 in either case.

Rows of `torch` are read from `make bench-torch`, rows that other scripts measure
from the JSON that they write.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from side_by_side import Target, measure, ratios, target_table

HERE = pathlib.Path(__file__).parent
# Measured once on 2 cores with AVX512-BF16 by the authors' TF1 code: seconds of one TLA step, batch 50.
TF1_SECONDS = {"mlp": 0.415, "lenet": 1.34}
# Network -> (steps, batch) of its PGD.
ATTACKED = {"mlp": (40, 100), "lenet": (10, 50), "wrn_16_2": (10, 50), "convnet": (7, 100)}
LIMITS = {"lenet": (1.7, 3, 3.3), "wrn_16_2": (1.7, 3, 3.3), "convnet": (1.2, 2, 2.2)}
LIBRARY_NAMES = ("cleverhans", "Foolbox", "ART")


def all_targets():
  """The table, nothing measured yet: dict from key to `Target`; a key begins with its section."""
  found = {}

  def add(key, work, ratio, relation, limit):
    found[key] = Target(work, ratio, relation, limit, key.split("/")[0])

  for name, (steps, batch) in ATTACKED.items():
    attack = f"PGD-{steps} on {name}, batch {batch}"
    limits = LIMITS.get(name, (2, 4, 5))
    kind = "float32" if name == "mlp" else "bfloat16"
    for library, limit in zip(LIBRARY_NAMES, limits):
      add(f"{name}/{library}", attack, f"{library} / ours, {kind}", "at least", limit)
    if name == "mlp":
      add("mlp/bfloat16", attack, "cleverhans / ours, bfloat16", "at least", 2.4)
    add(f"{name}/floor", attack, "ours / the faster of bare passes and cleverhans, float32", "at most", 1.05)
  for name, limit in (("mlp", 1.4), ("lenet", 1.9)):
    steps, batch = ATTACKED[name]
    kind = {"mlp": "float32", "lenet": "bfloat16"}[name]
    add(f"torch/{name}", f"PGD-{steps} on {name}, batch {batch}", f"torchattacks / ours, {kind}", "at least", limit)
  work = "training step, {}, TLA, batch 50, {} attack steps"
  add("training/mlp", work.format("mlp", 40), "authors' TF1 code (0.415 s, earlier) / ours, bfloat16", "at least", 3)
  add("training/lenet", work.format("lenet", 5), "authors' TF1 code (1.34 s, earlier) / ours, bfloat16", "at least", 2)
  for name in ("mlp", "lenet"):
    for steps, limit in ((40, 1.15), (5, 1.3)):
      work = f"training step, {name}, batch 50, {steps} attack steps"
      add(f"tla/{name}-{steps}", work, "TLA with memory bank / AT", "at most", limit)
  work = "training step, convnet, batch 50, 7 attack steps"
  add("tla/convnet-7", work, "TLA with fresh pool of 500 / AT", "at most", 1.35)
  add("loop/ratio", "training", "steps per second / bare compiled step", "at least", 0.95)
  for name in ("mlp", "lenet"):
    work = f"training of {name}, AT, batch 100, one core each"
    add(f"workers/{name}", work, "two workers / one worker, images per second", "at least", 1.6)
  work = "robust training of mlp on MNIST to equal PGD accuracy"
  add("two_phase/ratio", work, "seconds of plain AT / two-phase", "at least", 8)
  return found


# ----------------------------------------------------------------- PGD


def attack_section(name):
  """The function that measures PGD on one network."""

  def run(rounds, options):
    import attacks

    from tla_tf import networks
    from tla_tf.attacks import presets

    steps, batch = ATTACKED[name]
    network, images, labels = attacks.example(name, batch)
    config = presets.pgd(attacks.EPSILON, attacks.STEP_SIZE, steps)
    functions = {
      "ours": attacks.ours(network, images, labels, steps),
      "ours, bfloat16": attacks.ours(network, images, labels, steps, precision="bfloat16"),
      "bare passes": attacks.bare_passes(network, images, labels, steps, networks.prefers_xla(network)),
      **{library: make(network, images, labels, config) for library, make in attacks.LIBRARIES.items()},
    }
    seconds = measure(functions, rounds)
    ours = "ours" if name == "mlp" else "ours, bfloat16"
    found = {f"{name}/{library}": ratios(seconds, library, ours) for library in LIBRARY_NAMES}
    if name == "mlp":
      found["mlp/bfloat16"] = ratios(seconds, "cleverhans", "ours, bfloat16")
    return {**found, f"{name}/floor": ratios(seconds, "ours", ("bare passes", "cleverhans"))}, seconds

  return run


# ----------------------------------------------------------------- training steps


def published_step(dataset, network, method, steps, shared=None, **settings):
  """(config, network, function that runs one training step) of a published setting with other attack steps, batch 50.

  The attack sees the network in inference mode, whatever the method; images are noise, one constant batch, on whose
  content the time does not depend.

  Args:
    dataset: whose setting.
    network: its name.
    method: its name.
    steps: of the training attack.
    shared: dict of further fields of `TrainingConfig`.
    **settings: further settings of the method.
  """
  import numpy as np
  import tensorflow as tf
  import training_step

  from tla_tf import data, datasets, published
  from tla_tf.models.factory import needs
  from tla_tf.training import build_model

  config = published.setting(dataset, method, network)
  changed = config.recipe.replace(attack_mode="inference", **settings)
  config = config.replace(
    attack=config.attack.scaled(steps=steps), recipe=changed, **{"batch_size": 50, **(shared or {})}
  )
  shape = datasets.get(dataset).image_shape
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (2000, *shape), dtype=np.uint8)
  images = data.ImageData(noise, rng.integers(0, 10, 2000), tuple("0123456789"))
  classmates, pool = needs(config)
  stream = data.BatchStream(images, config.batch_size, 0, classmates=classmates, pool_size=pool)
  batches = tf.data.Dataset.from_tensors(stream.batch(tf.constant(0))).cache().repeat()
  model, built = build_model(config, shape, 10)
  return config, built, training_step.run(model, batches)


def training_section(rounds, options):
  """Steps in bfloat16 against the authors' seconds; those of float32 are printed beside them."""
  kinds = {"float32": None, "bfloat16": {"attack_precision": "bfloat16", "mixed_precision": "bfloat16"}}
  functions = {
    f"{network}, {kind}": published_step("mnist", network, "tla", steps, precisions)[-1]
    for network, steps in (("mlp", 40), ("lenet", 5))
    for kind, precisions in kinds.items()
  }
  seconds = measure(functions, rounds)
  found = {f"training/{name}": [fixed / s for s in seconds[f"{name}, bfloat16"]] for name, fixed in TF1_SECONDS.items()}
  return found, seconds


def tla_section(rounds, options):
  """TLA steps against AT steps."""
  found, every = {}, {}
  for network, steps in (("mlp", 40), ("mlp", 5), ("lenet", 40), ("lenet", 5), ("convnet", 7)):
    dataset = "cifar10" if network == "convnet" else "mnist"
    # A pool of 500 is mined in slices of a batch.
    shared = {"attack_batch_size": 50} if network == "convnet" else {}
    settings = {} if network == "convnet" else {"negative_pool": "memory_bank"}
    functions = {
      f"{network}-{steps}, {method}": published_step(dataset, network, method, steps, shared, **own)[-1]
      for method, own in (("at", {}), ("tla", settings))
    }
    seconds = measure(functions, rounds)
    at, tla = functions
    found[f"tla/{network}-{steps}"] = ratios(seconds, tla, at)
    every.update(seconds)
  return found, every


def loop_section(rounds, options, steps=20):
  """Training as the tools run it (seeded stream, loop, log, guard) against the compiled step on one batch."""
  import keras
  import numpy as np
  import tensorflow as tf

  from tla_tf import data
  from tla_tf.persistence import CheckpointStore, RunFolder
  from tla_tf.training import build_model
  from tla_tf.training.guard import NonFiniteGuard
  from tla_tf.training.loop import TrainingLoop
  from tla_tf.training.metrics_log import MetricsLog

  config, _, bare_step = published_step("mnist", "mlp", "at", 40)
  config = config.replace(validation_attack=config.validation_attack.scaled(steps=1))
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (5000, 28, 28, 1), dtype=np.uint8)
  images = data.ImageData(noise, rng.integers(0, 10, 5000), tuple("0123456789"))
  stream = data.BatchStream(images, config.batch_size, 0, classmates=False)
  heldout = tf.data.Dataset.from_tensors({"image": images.float_images()[:1], "label": tf.zeros([1], tf.int32)})
  model, _ = build_model(config, (28, 28, 1), 10)
  seconds = {"training": [], "bare compiled step": []}

  class Turns(keras.callbacks.Callback):
    """After every `steps` steps of the training, as many bare ones; both are timed."""

    def on_train_begin(self, logs=None):
      self.done, self.began = 0, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
      self.done += 1
      if self.done % steps == 0:
        turned = time.perf_counter()
        for _ in range(steps):
          bare_step()
        ended = time.perf_counter()
        if self.done > steps:  # The first round traces and compiles.
          seconds["training"].append(turned - self.began)
          seconds["bare compiled step"].append(ended - turned)
        self.began = time.perf_counter()

  with tempfile.TemporaryDirectory() as path, contextlib.ExitStack() as stack:
    folder, _ = RunFolder.create(path)
    metrics = stack.enter_context(contextlib.closing(MetricsLog(folder, 0, config.log_every)))
    callbacks = [metrics, NonFiniteGuard(CheckpointStore(folder.checkpoints, 1, ("val_accuracy",))), Turns()]
    count = (rounds + 1) * steps
    loop = TrainingLoop(model, None, config.steps_per_execution, config.log_every)
    loop.run(stream.dataset(0, count), heldout, 0, count, count, callbacks)
  return {"loop/ratio": ratios(seconds, "bare compiled step", "training")}, seconds


# ----------------------------------------------------------------- other scripts


def script_section(script, read, *flags):
  """The function that runs another script of this folder and reads what it writes to `--json PATH`.

  Args:
    script: its file.
    read: from its JSON to a dict from key to ratios.
    *flags: names of our flags that it takes, too, where they are given.
  """

  def run(rounds, options):
    given = [f"--{flag}={getattr(options, flag)}" for flag in flags if getattr(options, flag)]
    with tempfile.TemporaryDirectory() as folder:
      written = pathlib.Path(folder) / "found.json"
      done = subprocess.run([sys.executable, str(HERE / script), "--json", str(written), *given], check=False)
      if not written.is_file():  # With figures, a status other than 0 says that a target was missed.
        raise RuntimeError(f"{script} ended with status {done.returncode}")
      found = json.loads(written.read_text())
    return read(found), found

  return run


def torch_section(rounds, options):
  """What `make bench-torch` has written."""
  path = pathlib.Path(options.torch_json)
  if not path.is_file():
    raise FileNotFoundError("no figures: run make bench-torch before")
  found = json.loads(path.read_text())
  return {f"torch/{name}": values for name, values in found["ratios"].items()}, found


SECTIONS = {
  **{name: attack_section(name) for name in ATTACKED},
  "torch": torch_section,
  "training": training_section,
  "tla": tla_section,
  "loop": loop_section,
  "workers": script_section(
    "two_workers.py", lambda rows: {f"workers/{row['network']}": row["ratios"] for row in rows}, "rounds"
  ),
  "two_phase": script_section("time_to_accuracy.py", lambda found: {"two_phase/ratio": found["ratios"]}, "data_dir"),
}


def run_sections(targets, chosen, rounds, options):
  """Measures sections into their targets; one that fails leaves the reason there. Returns seconds by section."""
  raw = {}
  for name in chosen:
    began = time.perf_counter()
    print(f"{name} ...", end="", flush=True)
    try:
      found, seconds = SECTIONS[name](rounds, options)
      for key, values in found.items():
        targets[key].values = values
      raw[name] = seconds
    except Exception as error:  # The other rows are still worth having.
      if not isinstance(error, FileNotFoundError):
        traceback.print_exc()
      for target in targets.values():
        if target.section == name:
          target.note = f"{type(error).__name__}: {error}".splitlines()[0][:100]
    print(f" {time.perf_counter() - began:.0f} s", flush=True)
  return raw


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison")
  parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to measure")
  parser.add_argument("--json", default="build/bench.json", help="file that the table is written to")
  parser.add_argument("--torch_json", default="build/bench_torch.json", help="what make bench-torch has written")
  parser.add_argument("--data_dir", default="", help="folder of MNIST's files; without it, TFDS")
  options = parser.parse_args()
  began = time.perf_counter()
  targets = all_targets()
  raw = run_sections(targets, options.only, options.rounds, options)
  chosen = [target for target in targets.values() if target.section in options.only]
  print(f"\n{target_table(chosen)}\n\n{time.perf_counter() - began:.0f} s in all")
  path = pathlib.Path(options.json)
  path.parent.mkdir(parents=True, exist_ok=True)
  machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
  content = {
    "machine": machine,
    "when": time.strftime("%Y-%m-%d %H:%M"),
    "targets": [target.to_dict() for target in chosen],
    "seconds": raw,
  }
  path.write_text(json.dumps(content, indent=2) + "\n")
  sys.exit(0 if all(target.verdict == "ok" for target in chosen) else 1)


if __name__ == "__main__":
  main()
