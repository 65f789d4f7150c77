"""Runs a program of `export_steps.py` by JAX, on an accelerator where there is one: no TensorFlow needed.

  python run_steps.py --program=exported --output_dir=trained

Checked with JAX 0.11.2. Writes `curve.jsonl` (step, seconds, logged values, accuracies on held-out images), the
network's variables as `network.npz`, and all that training changes as `state.npz`, from which another call goes on. On
an H100 set XLA_FLAGS=--xla_gpu_per_fusion_autotune_cache_dir=DIR: the first program then compiles for a minute and the
others do not; without autotuning the steps take twice as long.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import _jax
from jaxlib.mlir import ir

jax.config.update("jax_enable_x64", True)
_TYPES = {"f32": np.float32, "i64": np.int64, "i32": np.int32, "ui8": np.uint8, "i1": np.bool_, "ui32": np.uint32}


class Program:
  """A compiled program, and what it captured."""

  def __init__(self, path: pathlib.Path, device):
    with mlir.make_ir_context():
      parsed = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(path.with_suffix(".hlo").read_bytes()))
      main = next(o for o in parsed.body.operations if "main" in str(o.attributes["sym_name"]))
      self.inputs, self.results = ([_described(t) for t in types] for types in (main.type.inputs, main.type.results))
      _drop_copies(parsed.operation)
      module = mlir.module_to_bytecode(parsed)
    options = _jax.CompileOptions()
    devices = _jax.DeviceList((device,))
    self._loaded = device.client.compile_and_load(module, devices, options)
    self._captured = None
    self._values = dict(np.load(path.with_suffix(".npz")))
    self._device = device

  def __call__(self, *given):
    """The results, as arrays of the device."""
    if self._captured is None:
      rest = self.inputs[len(given) :]
      self._captured = [
        jax.device_put(self._values.get(f"{i:03d}", np.zeros(shape, kind)), self._device)
        for i, (shape, kind) in enumerate(rest)
      ]
    results = self._loaded.execute([*given, *self._captured])
    # Their variables take the places of those that came in, whose memory they have.
    values = iter(results[len(self.results) - len(self._captured) + len(self._values) :])
    self._captured = [old if f"{i:03d}" in self._values else next(values) for i, old in enumerate(self._captured)]
    return results


def _drop_copies(operation):
  """Takes out the copies inside an operation, which the compilers of accelerators do not know in this form."""
  for region in operation.regions:
    for block in region.blocks:
      for inner in list(block.operations):
        _drop_copies(inner.operation)
        if inner.operation.name == "mhlo.copy":
          inner.operation.results[0].replace_all_uses_with(inner.operation.operands[0])
          inner.operation.erase()


def _described(text):
  *shape, kind = str(text).removeprefix("tensor<").removesuffix(">").split("x")
  return tuple(map(int, shape)), np.dtype(_TYPES[kind])


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--program", type=pathlib.Path, required=True)
  parser.add_argument("--output_dir", type=pathlib.Path, required=True)
  parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop then.")
  parser.add_argument("--look_every", type=int, default=2000, help="Steps between looks at held-out images.")
  parser.add_argument("--init", type=pathlib.Path, help="`network.npz` to begin with.")
  given = parser.parse_args()
  device = jax.devices()[0]
  record = json.loads((given.program / "program.json").read_text())
  begun = time.time()
  train, look = (Program(given.program / name, device) for name in ("train", "look"))
  compiled = time.time() - begun
  given.output_dir.mkdir(parents=True, exist_ok=True)
  state_path = given.output_dir / "state.npz"
  source = state_path if state_path.exists() else given.program / "state.npz"
  saved = np.load(source)
  state = [jax.device_put(saved[name], device) for name in sorted(saved.files)]
  if given.init is not None and source != state_path:
    # A network that was trained before; the optimizer begins anew.
    begun_from = np.load(given.init)
    for i in record["network_variables"]:
      state[i] = jax.device_put(begun_from[f"{i:03d}"], device)
  images = np.load(given.program / "images.npz")
  on_device = {name: jax.device_put(images[name], device) for name in images.files}
  indices = np.load(given.program / "indices.npz")["indices"]
  step = next((int(v) for v, n in zip(state, record["variables"]) if n.endswith("iteration")), 0)
  stop = min(record["train_steps"], len(indices))
  count, n = record["steps_per_call"], len(state)
  print(
    f"{given.output_dir}: {device.device_kind}, compiled in {compiled:.1f} s, from step {step} to {stop}", flush=True
  )
  curve = given.output_dir / "curve.jsonl"
  # Of a training that goes on; what was looked at after the last state will be looked at again.
  lines = [json.loads(line) for line in curve.read_text().splitlines()] if curve.exists() else []
  lines = [line for line in lines if line["step"] <= step]
  curve.write_text("".join(json.dumps(line) + "\n" for line in lines))
  before = lines[-1]["seconds"] if lines else 0.0
  began, first = time.time(), step

  def looked(logged):
    accuracy, robust = np.asarray(look(*state, on_device["heldout_images"], on_device["heldout_labels"])[0]).tolist()
    line = {
      "step": step,
      "seconds": before + time.time() - began,
      "val_accuracy": accuracy,
      "val_robust_accuracy": robust,
    }
    line |= dict(zip(record["logged"], np.asarray(logged).tolist()))
    line |= {name: round(value, 6) for name, value in line.items()}
    with curve.open("a") as file:
      file.write(json.dumps(line) + "\n")
    rate = (step - first) / (time.time() - began)
    print(
      f"{given.output_dir.name} {step}: {accuracy:.3f} {robust:.3f} loss {line['loss']:.3f} {rate:.0f}/s", flush=True
    )

  def save():
    values = [np.asarray(v) for v in state]
    np.savez(given.output_dir / "state.part.npz", **{f"{i:03d}": v for i, v in enumerate(values)})
    (given.output_dir / "state.part.npz").rename(state_path)
    about = {"step": step, "jax": jax.__version__, "device": device.device_kind}
    np.savez_compressed(
      given.output_dir / "network.npz", **about, **{f"{i:03d}": values[i] for i in record["network_variables"]}
    )

  late = False
  while step + count <= stop and not late:
    part = np.ascontiguousarray(indices[step : step + count].astype(np.int32))
    found = train(*state, on_device["images"], on_device["labels"], jax.device_put(part, device))
    state, logged = list(found[:n]), found[n]
    step += count
    late = time.time() - began > given.seconds
    if step % given.look_every == 0 or step + count > stop or late:
      looked(logged)
    if step % (5 * given.look_every) == 0:
      save()
  save()


if __name__ == "__main__":
  main()
