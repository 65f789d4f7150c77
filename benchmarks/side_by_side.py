"""Timing several functions in turn, so that a noisy machine is fair to all."""

import random
import statistics
import time


def measure(functions, repeats):
  """Seconds of every function, measured in turn, in a new order each round.

  The order matters: what ran before leaves its memory and heat behind. Each
  function is called once before the first round, to trace and compile. It must
  return something with `.numpy()`, or numbers, so that its work is finished
  when the clock stops.

  Args:
    functions: dict from name to a function without arguments.
    repeats: rounds.

  Returns:
    Dict from name to a list of seconds, one a round.
  """

  def finish(result):
    return result.numpy() if hasattr(result, "numpy") else result

  for function in functions.values():
    finish(function())
  seconds = {name: [] for name in functions}
  order = list(functions.items())
  shuffler = random.Random(0)
  for _ in range(repeats):
    shuffler.shuffle(order)
    for name, function in order:
      began = time.perf_counter()
      finish(function())
      seconds[name].append(time.perf_counter() - began)
  return seconds


def report(title, seconds, base, requirements=()):
  """Prints median times, and the medians of the ratios within each round.

  Args:
    title: what was measured.
    seconds: what `measure` returns.
    base: name whose time the others are divided by.
    requirements: tuples (name, "at least" or "at most", limit) on the ratios.

  Returns:
    Whether all requirements hold.
  """
  print(f"\n{title}")
  ratios = {name: statistics.median(a / b for a, b in zip(values, seconds[base])) for name, values in seconds.items()}
  for name, values in seconds.items():
    print(f"  {name:<32} {1000 * statistics.median(values):9.1f} ms   {ratios[name]:6.2f} x {base}")
  good = True
  for name, relation, limit in requirements:
    holds = ratios[name] >= limit if relation == "at least" else ratios[name] <= limit
    good &= holds
    print(f"  {'ok  ' if holds else 'MISS'} {name}: {ratios[name]:.2f} ({relation} {limit})")
  return good
