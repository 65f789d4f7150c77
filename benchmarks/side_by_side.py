"""Timing several functions in turn, so that a noisy machine is fair to all; tables of what was asked for."""

import dataclasses
import random
import statistics
import time


def measure(functions, repeats, clock=time.perf_counter):
  """Seconds of every function, measured in turn, in a new order each round.

  The order matters: what ran before leaves its memory and heat behind. Each
  function is called once before the first round, to trace and compile. It must
  return something with `.numpy()`, or numbers, so that its work is finished
  when the clock stops.

  Args:
    functions: dict from name to a function without arguments.
    repeats: rounds.
    clock: seconds; wall clock by default.

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
      began = clock()
      finish(function())
      seconds[name].append(clock() - began)
  return seconds


def ratios(seconds, above, below):
  """One ratio a round.

  Args:
    seconds: what `measure` returns.
    above: name of the function whose time is divided.
    below: name of the other; of several in a tuple, the fastest of the round.
  """
  names = below if isinstance(below, tuple) else (below,)
  return [a / min(b) for a, b in zip(seconds[above], zip(*(seconds[name] for name in names)))]


@dataclasses.dataclass
class Target:
  """A ratio that is asked for, and what was measured of it.

  Attributes:
    work: what is done.
    ratio: what is divided by what.
    relation: "at least" or "at most".
    limit: the number asked for.
    section: name of the benchmark that measures it.
    values: what was measured, one number a round.
    note: why nothing was, or what else is to be said.
  """

  work: str
  ratio: str
  relation: str
  limit: float
  section: str
  values: list = dataclasses.field(default_factory=list)
  note: str = ""

  @property
  def measured(self):
    """The median over the rounds; None where nothing was measured."""
    return statistics.median(self.values) if self.values else None

  @property
  def verdict(self):
    """ "ok", "MISS" or "not measured"."""
    if self.measured is None:
      return "not measured"
    holds = self.measured >= self.limit if self.relation == "at least" else self.measured <= self.limit
    return "ok" if holds else "MISS"

  def to_dict(self):
    """As JSON takes it."""
    return {**dataclasses.asdict(self), "measured": self.measured, "verdict": self.verdict}


def target_table(targets):
  """The targets as a Markdown table, with the spread of what was measured: smallest and largest of the rounds."""
  rows = [("work", "ratio", "target", "measured", "spread", "rounds", "")]
  for target in targets:
    values = target.values
    spread = f"{min(values):.2f} to {max(values):.2f}" if values else ""
    measured = f"{target.measured:.2f}" if values else ""
    said = f"{target.verdict} ({target.note})" if target.note else target.verdict
    sign = {"at least": ">=", "at most": "<="}[target.relation]
    rows.append((target.work, target.ratio, f"{sign} {target.limit:g}", measured, spread, str(len(values) or ""), said))
  widths = [max(map(len, column)) for column in zip(*rows)]
  rows.insert(1, tuple("-" * width for width in widths))
  return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows)


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
