"""A table of the paper beside ours, as a JSON file holds it."""

from __future__ import annotations

import dataclasses
import typing

from tla_tf.records.record import Record, unchanged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A number of ours beside the paper's; shares are fractions.

  Attributes:
    column: the column's name, with the number of steps.
    ours: the mean over the seeds; None where it was not measured.
    interval: 95% of it; None where there is none.
    by_seed: the number of every seed.
    paper: the paper's number; None where it gives none.
    printed: the same as it is printed.
    difference: ours less the paper's.
    differs: whether the paper's number, as far as it is rounded, lies outside the interval.
  """

  column: str
  ours: float | None
  interval: tuple[float, float] | None
  by_seed: dict[str, float]
  paper: float | None
  printed: str | None
  difference: float | None
  differs: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A row of the table.

  Attributes:
    name: as the paper has it.
    variant: of the grid.
    cells: a Cell for every column.
  """

  name: str
  variant: str
  cells: list[Cell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproducedRecord(Record):
  """`table_4_mnist_short.json`: a table or figure of the paper, as far as it is of one data set, beside ours.

  Attributes:
    name, title: of the table.
    dataset, network: that the paper's is of.
    scale: of ours: "published", "short", or the name of a plan.
    comparison: folder of the comparison that ours are of.
    columns: their names; `percent` says which are shares.
    rows: with the paper's first, then ours that it does not have.
    notes: sentences that a reader should know.
    pictures: files, of a figure without numbers.
  """

  FORMAT, FILE, REMEDY = 2, "the table's file", "run tla-reproduce again"
  UPGRADES: typing.ClassVar[dict] = {1: unchanged}
  SEALED_SINCE = 2

  name: str
  title: str
  dataset: str
  network: str
  scale: str
  comparison: str
  columns: list[str]
  percent: list[bool]
  rows: list[Row]
  notes: list[str]
  pictures: list[str]
