"""The trainings that tables of the paper need: plans of comparisons, one for a network and a scale.

Files of `grids/` are ordinary plans (docs/comparing.md). Their variants are called as the paper's rows (TLA-RN is
`tla_rn`); those that it has no row for are ours, and go along.
"""

from __future__ import annotations

import collections.abc
import copy
import pathlib
import typing

from tla_tf.comparing.plan import ComparisonPlan
from tla_tf.errors import InputError
from tla_tf.registry import expected
from tla_tf.reproducing import paper
from tla_tf.reproducing.paper import Part

FOLDER = pathlib.Path(__file__).with_name("grids")
SCALES = ("published", "short")
# Of the paper's tables.
_SUITES = ("table1", "table3")


class Wanted(typing.NamedTuple):
  """What is to be trained, judged and shown of one network.

  Attributes:
    name: of its folder.
    scale: "published", "short", or the name of a plan file.
    plan: ComparisonPlan.
    parts: tables and figures that it is for.
    rows: by place in `parts`, the names of their rows.
    further: variants that the paper has no row for.
  """

  name: str
  scale: str
  plan: ComparisonPlan
  parts: tuple[Part, ...]
  rows: tuple[tuple[str, ...], ...]
  further: tuple[str, ...]


def wanted(
  parts: collections.abc.Sequence[Part],
  scale: str = "published",
  *,
  only: collections.abc.Sequence[str] = (),
  num_seeds: int | None = None,
) -> list[Wanted]:
  """The plans that tables and figures need, each network once.

  Args:
    parts: of the paper.
    scale: one of `SCALES`, or the path of a plan of one's own (`.yaml`) for a single network.
    only: names of rows, or of the grid's variants; others are not trained unless these need them. Empty for all.
    num_seeds: seeds 1, 2, ... of every training; None for those of the plan.

  Raises:
    InputError: for an unknown scale or row, or a plan that lacks what is asked for.
  """
  networks: dict[tuple[str, str], list[Part]] = {}
  for part in parts:
    networks.setdefault((part.dataset, part.network), []).append(part)
  files = {(dataset, network): path(dataset, network, scale) for dataset, network in networks}
  if scale not in SCALES and len(networks) > 1:
    shown = ", ".join(f"{network} on {dataset}" for dataset, network in networks)
    raise InputError(f"`scale={scale}`: a plan is of one network, and these tables are of {shown}; choose one.")
  known: dict[str, str] = {}
  found = []
  for (dataset, network), own in networks.items():
    file = files[dataset, network]
    whole = ComparisonPlan.read(file)
    if whole.dataset != dataset:
      raise InputError(f"`scale={scale}`: is a plan for {whole.dataset}, and the table is of {dataset}.")
    further = _further(whole, dataset, network)
    known |= {_variant(row): row for part in own for row in part.rows} | {name: name for name in further}
    known |= {variant: variant for part in own for variant in part.variants.values()}
    one = _of_network(file, whole, own, further, {_variant(name) for name in only}, num_seeds)
    found += [] if one is None else [one]
  for name in only:
    if _variant(name) not in known:
      raise InputError(f"`only={name}`: {expected(name, dict.fromkeys(known.values()))}.")
  return found


def path(dataset: str, network: str, scale: str) -> pathlib.Path:
  """The plan file of a network and a scale.

  Raises:
    InputError: if there is none.
  """
  if scale in SCALES:
    return FOLDER / f"{dataset}_{network}_{scale}.yaml"
  own = pathlib.Path(scale)
  if not own.suffix:
    raise InputError(f"`scale={scale}`: {expected(scale, SCALES)}, or the .yaml file of a plan of your own.")
  return own


def _further(whole: ComparisonPlan, dataset: str, network: str) -> tuple[str, ...]:
  """The variants of a plan that no table of the paper has a row for, and that are no sources of images."""
  parts = [part for part in paper.read().parts if (part.dataset, part.network) == (dataset, network)]
  rows = {variant for part in parts for variant in part.variants.values()}
  sources = {entry.source for entry in whole.judge}
  return tuple(variant.name for variant in whole.variants if variant.name not in rows | sources)


def _of_network(
  file: pathlib.Path,
  whole: ComparisonPlan,
  parts: list[Part],
  further: tuple[str, ...],
  chosen: set[str],
  num_seeds: int | None,
) -> Wanted | None:
  """What the parts of one network want of its plan; None where the choice of rows leaves nothing of them."""
  content = copy.deepcopy(whole.content)
  names = [variant.name for variant in whole.variants]
  shown = []
  for part in parts:
    rows = [row for row, variant in part.variants.items() if not chosen or {_variant(row), variant} & chosen]
    missing = [part.variants[row] for row in rows if part.variants[row] not in names]
    if missing:
      raise InputError(f"{file}: has no variant {missing[0]!r}, which {part.name} has a row for; `only` leaves it out.")
    shown.append(tuple(rows))
  further = tuple(name for name in further if not chosen or name in chosen)
  if not further and not any(shown):
    return None
  columns = [column for part in parts for column in part.columns]
  black_box = any(column.black_box for column in columns)
  kept = {part.variants[row] for part, rows in zip(parts, shown) for row in rows} | set(further)
  kept |= {entry.source for entry in whole.judge if entry.source} if black_box else set()
  begun = {variant.name: variant.init_from for variant in whole.variants if variant.init_from}
  while before := {begun[name] for name in kept if name in begun} - kept:
    kept |= before
  given = {variant.base for variant in whole.variants if variant.name in kept}
  content["variants"] = {name: own for name, own in content["variants"].items() if name in given}
  content["judge"] = [_judging(entry, black_box) for entry in content.get("judge", []) if _serves(entry, columns)]
  if not any(column.of_analysis for column in columns) and not any(part.is_picture for part in parts):
    content.pop("analyze", None)
  if num_seeds is not None:
    content["seeds"] = list(range(1, num_seeds + 1))
  label = file.stem.removeprefix(f"{parts[0].dataset}_{parts[0].network}_")
  return Wanted(
    name=f"{parts[0].dataset}_{parts[0].network}_{label}",
    scale=label,
    plan=ComparisonPlan.from_dict(content),
    parts=tuple(parts),
    rows=tuple(shown),
    further=further,
  )


def _serves(entry: dict, columns: list[paper.Column]) -> bool:
  """Whether a table has a column of an evaluation's suites; AutoAttack goes along with any that has accuracies."""
  suites = entry["suite"] if isinstance(entry["suite"], list) else str(entry["suite"]).split(",")
  asked = {column.suite for column in columns} - {None}
  of_paper = set(suites) & set(_SUITES)
  return bool(asked) and (not of_paper or bool(of_paper & asked))


def _judging(entry: dict, black_box: bool) -> dict:
  return entry if black_box else {key: value for key, value in entry.items() if key != "source"}


def _variant(name: str) -> str:
  return name.lower().replace("-", "_")
