"""The plan of a comparison: variants of a training x seeds, how they are judged, from one YAML file.

    dataset: mnist
    preset: mnist_mlp
    settings: {train_steps: 10000, attack_steps: 5, attack_step_size: 0.1}
    seeds: [1, 2, 3]
    variants:
      at: {method: at}
      tla: {method: tla}
      tla_tuned: {method: tla, init_from: at}
    judge:
      - {suite: [table1], num_examples: 1000}

docs/comparing.md describes all keys. Settings have the names of the flags of `tla-train`, `tla-evaluate` and
`tla-analyze`. No TensorFlow here.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import itertools
import math
import pathlib
import re
import typing

from tla_tf import datasets, recipes, yaml_file
from tla_tf.comparing.judging_flags import ANALYZE, ENTRIES, JUDGE
from tla_tf.config import Option, TrainingConfig
from tla_tf.datasets import DatasetSpec
from tla_tf.errors import InputError
from tla_tf.files import AnyPath
from tla_tf.registry import expected
from tla_tf.settings import parsed, presets, reading_options, recipe_options, resolve, shared_options

# Texts of a flag: several of one that may be given several times.
Texts = tuple[str, ...]
Flags = collections.abc.Mapping[str, Texts]
_KEYS = (
  "dataset",
  "data_dir",
  "preset",
  "settings",
  "seeds",
  "variants",
  "grid",
  "budget",
  "select",
  "judge",
  "analyze",
)
# They have keys of their own, or follow from the plan.
_NOT_SETTINGS = {"seed": "seeds", "dataset": "dataset", "data_dir": "data_dir", "output_dir": "the tool's own"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclasses.dataclass(frozen=True)
class Variant:
  """One way to train.

  Attributes:
    name: in tables, and of its folder.
    preset: the shipped flag file that its settings begin with, or None.
    flags: its settings over that, by flag: the common ones and its own.
    init_from: the variant whose run of the same seed it begins with, or None.
    base: the name of the variant that a grid made it of; else its own.
    seed: the only seed that it is trained with, or None. Such a one serves others, as the source of black-box images
      say, and is not judged itself.
  """

  name: str
  preset: str | None
  flags: Flags
  init_from: str | None = None
  base: str = ""
  seed: int | None = None


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """One training.

  Attributes:
    variant: name of its variant.
    seed: its seed.
    folder: its run folder.
    flags: of `tla-train`, as the words of its command line: "--method=at".
    config: the TrainingConfig that they make; its `init` is open until the run that it begins with is there.
    init_from: folder of the run that it begins with, or None.
  """

  variant: str
  seed: int
  folder: pathlib.Path
  flags: tuple[str, ...]
  config: TrainingConfig
  init_from: pathlib.Path | None = None

  @property
  def name(self) -> str:
    """What people and logs call it."""
    return f"{self.variant}_seed_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Judging:
  """One evaluation, or analysis, of every run that is judged.

  Attributes:
    flags: of `tla-evaluate` or `tla-analyze`, by name.
    source: variant whose run of the same seed, or only run, makes the images of the black-box column, or None.
  """

  flags: Flags
  source: str | None = None

  @property
  def held_out(self) -> bool:
    """Whether it looks at held-out images, and never at the test set."""
    return self.flags.get("split") == ("held_out",)


@dataclasses.dataclass(frozen=True)
class ComparisonPlan:
  """What is compared, and how.

  Attributes:
    dataset: the data set's name.
    variants: in the order of the plan.
    seeds: of every variant.
    data_dir: folder of the data set's files, or None.
    seconds: what every variant may train for on this machine; None where `train_steps` says how long.
    select: from the name of a group to its variants, of which only the best on held-out images is judged.
    judge: evaluations.
    analyze: the analysis, or None.
    content: the plan as it was given, of JSON's values.
  """

  dataset: str
  variants: tuple[Variant, ...]
  seeds: tuple[int, ...]
  data_dir: str | None = None
  seconds: float | None = None
  select: collections.abc.Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  judge: tuple[Judging, ...] = ()
  analyze: Judging | None = None
  content: dict = dataclasses.field(default_factory=dict, compare=False)

  @classmethod
  def read(cls, path: AnyPath) -> ComparisonPlan:
    """Reads a plan from a YAML or JSON file.

    Raises:
      InputError: naming the file, the place and what is wrong there.
    """
    content = yaml_file.read(path)
    try:
      return cls.from_dict(content)
    except InputError as error:
      raise InputError(f"{path}: {error}") from None

  @classmethod
  def from_dict(cls, content: typing.Any) -> ComparisonPlan:
    """The plan that such a file's content describes.

    Raises:
      InputError: naming the place and what is wrong there.
    """
    try:
      return _Reader(content).plan()
    except InputError as error:
      # In backticks stand arguments of a caller's.
      raise InputError(str(error).replace("`", "'")) from None

  def text(self) -> str:
    """The plan as YAML that `read` understands."""
    return yaml_file.text_of(self.content)

  def variant(self, name: str) -> Variant:
    """The variant of a name."""
    return next(variant for variant in self.variants if variant.name == name)

  def seed_of(self, name: str, seed: int) -> int:
    """The seed of a variant's run that stands beside runs of a seed: the same, or its only one."""
    own = self.variant(name).seed
    return seed if own is None else own

  def runs(
    self,
    output_dir: AnyPath,
    *,
    data_dir: str | None = None,
    train_steps: collections.abc.Mapping[str, int] | None = None,
  ) -> list[PlannedRun]:
    """All trainings, in an order that trains what others begin with first: seed by seed.

    Args:
      output_dir: folder of the comparison.
      data_dir: folder of the data set's files; None for the plan's.
      train_steps: of variants by name, where equal seconds make them; the others train as long as their settings say.

    Raises:
      InputError: for settings that these steps make wrong.
    """
    runs: list[PlannedRun] = []
    names = [(name, self.seed_of(name, seed), seed) for seed in self.seeds for name in self._order()]
    for name, seed, beside in names:
      if any((run.variant, run.seed) == (name, seed) for run in runs):
        continue  # It has one seed.
      variant, folder = self.variant(name), run_folder(output_dir, name, seed)
      flags = {**variant.flags, "seed": (str(seed),)}
      first = {"dataset": self.dataset, "preset": variant.preset}
      if train_steps and name in train_steps:
        flags["train_steps"] = (str(train_steps[name]),)
      begun = None
      if variant.init_from:
        begun = run_folder(output_dir, variant.init_from, self.seed_of(variant.init_from, beside))
      places = {"init_from": begun, "data_dir": data_dir or self.data_dir, "output_dir": folder}
      words = words_of(_given(first)) + words_of(flags) + words_of(_given(places))
      config = resolved(self.dataset, variant.preset, flags, begun is not None)
      runs.append(PlannedRun(name, seed, folder, tuple(words), config, begun))
    return runs

  def _order(self) -> list[str]:
    """Names of the variants, what others begin with before these."""
    begun = {variant.name: variant.init_from for variant in self.variants}

    def depth(name: str) -> int:
      before = begun[name]
      return 0 if before is None else 1 + depth(before)

    return sorted(begun, key=depth)


def run_folder(output_dir: AnyPath, variant: str, seed: int) -> pathlib.Path:
  """The run folder of a variant's run."""
  return pathlib.Path(output_dir) / "runs" / variant / f"seed_{seed}"


def words_of(flags: Flags) -> list[str]:
  """Flags as the words of a command line."""
  return [f"--{flag}={text}" for flag, texts in flags.items() for text in texts]


def _given(values: dict[str, typing.Any]) -> Flags:
  """Flags of the values that are not None."""
  return {flag: (str(value),) for flag, value in values.items() if value is not None}


def resolved(dataset: str, preset: str | None, flags: Flags, fine_tuning: bool) -> TrainingConfig:
  """The TrainingConfig of a variant's flags.

  Args:
    dataset: the data set's name.
    preset: the shipped flag file that they stand beside, or None.
    flags: texts by flag.
    fine_tuning: whether it begins with a trained network.

  Raises:
    InputError: for a wrong value.
  """
  options = training_options(datasets.get(dataset))

  def values(texts: Flags) -> dict[str, typing.Any]:
    known = {flag: options[flag] for flag in texts if flag in options}
    return {
      flag: list(texts[flag]) if flag == "schedule" else parsed(option, texts[flag][-1])
      for flag, option in known.items()
    }

  in_file = values(presets.texts(preset, dataset)) if preset else {}
  beside = values(flags)
  return resolve(dataset, {**in_file, **beside}, in_files=in_file, beside=set(beside), fine_tuning=fine_tuning)


def training_options(spec: DatasetSpec) -> dict[str, Option]:
  """The flags of `tla-train` that are settings of a training on a data set."""
  reading = {
    flag: option for flag, option in reading_options().items() if flag in ("heldout_examples", *spec.reading_flags)
  }
  return {"method": Option("method", "method", str, ""), **shared_options(), **recipe_options(), **reading}


class _Reader:
  """Reads a plan's content; every error names its place."""

  def __init__(self, content: typing.Any):
    self._content = _mapping(content, "the plan")
    _known(self._content, _KEYS, "the plan")
    if "dataset" not in self._content:
      raise InputError("dataset: is missing; name one of " + f"{datasets.names()}.")
    with _place("dataset"):
      self._spec = datasets.get(_word(self._content["dataset"], "dataset"))
    self._options = training_options(self._spec)
    # Folders of tla-train that are no settings.
    self._folders = [flag for flag in ("cache_dir",) if flag in self._spec.reading_flags]

  def plan(self) -> ComparisonPlan:
    seconds, steps = self._budget()
    common = self._flags(self._content.get("settings"), "settings")
    if steps is not None:
      if "train_steps" in common:
        raise InputError("budget: has steps, as the settings have train_steps: give one of them.")
      common["train_steps"] = (str(steps),)
    variants = self._variants(common, steps is not None or seconds is not None)
    self._require_of_use(common, variants)
    plan = ComparisonPlan(
      dataset=self._spec.name,
      variants=variants,
      seeds=self._seeds(),
      data_dir=self._data_dir(),
      seconds=seconds,
      select=self._select(variants),
      judge=self._judge(variants),
      analyze=self._analyze(),
      content=self._content,
    )
    plan.runs(".")  # Whatever is wrong with a training is known before the first begins.
    return plan

  def _data_dir(self) -> str | None:
    if self._content.get("data_dir") is None:
      return None
    if "data_dir" not in self._spec.reading_flags:
      raise InputError(f"data_dir: does not go with the data set {self._spec.name}, which needs no files.")
    return _word(self._content["data_dir"], "data_dir")

  def _seeds(self) -> tuple[int, ...]:
    seeds = self._content.get("seeds")
    if not isinstance(seeds, list) or not seeds or not all(map(_is_seed, seeds)):
      raise InputError(f"seeds: expected whole numbers of at least 0, such as [1, 2, 3], got {seeds!r}.")
    if len(set(seeds)) < len(seeds):
      raise InputError(f"seeds: expected every seed once, got {seeds}.")
    return tuple(seeds)

  def _budget(self) -> tuple[float | None, int | None]:
    """(Seconds of every run, steps of every run), one of them at most."""
    budget = self._content.get("budget")
    if budget is None:
      return None, None
    budget = _mapping(budget, "budget")
    _known(budget, ("steps", "seconds"), "budget")
    if len(budget) != 1:
      raise InputError("budget: expected either steps or seconds.")
    ((kind, value),) = budget.items()
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = whole or (kind == "seconds" and isinstance(value, float) and math.isfinite(value))
    if not number or value <= 0 or value < (kind == "steps"):
      raise InputError(f"budget: {kind}: expected a {'whole ' * (kind == 'steps')}number above 0, got {value!r}.")
    return (None, value) if kind == "steps" else (float(value), None)

  # ------------------------------------------------------------- variants

  def _variants(self, common: dict[str, Texts], has_budget: bool) -> tuple[Variant, ...]:
    given = _mapping(self._content.get("variants"), "variants", "name: {method: ...}")
    if not given:
      raise InputError("variants: expected at least one, such as at: {method: at}.")
    preset = self._preset(self._content.get("preset"), "the plan")
    found: list[Variant] = []
    for name, own in given.items():
      place = f"variants: {name}"
      _require_name(name, "variants")
      own = _mapping(own, place)
      begun = own.pop("init_from", None)
      seed = self._own_seed(own.pop("seed", None), begun, place)
      own_preset = self._preset(own.pop("preset", None), place) or preset
      flags = self._flags(own, place)
      if has_budget and "train_steps" in flags:
        raise InputError(f"{place}: has train_steps, but the budget says how long all train.")
      found += self._gridded(Variant(name, own_preset, flags, begun, name, seed))
    twice = [v.name for v in found if [other.name for other in found].count(v.name) > 1]
    if twice:
      raise InputError(f"grid: {twice[0]} is there twice.")
    variants = tuple(dataclasses.replace(variant, flags={**common, **variant.flags}) for variant in found)
    own_flags = {variant.name: variant.flags for variant in found}
    for variant in variants:
      with _place(f"variants: {variant.name}"):
        self._require_sound(variant, variants, own_flags[variant.name])
    with _place("variants"):
      _require_no_circle(variants)
    return variants

  def _own_seed(self, seed: typing.Any, begun: typing.Any, place: str) -> int | None:
    if seed is None:
      return None
    if not _is_seed(seed):
      raise InputError(f"{place}: seed: expected a whole number of at least 0, got {seed!r}.")
    if begun is not None:
      raise InputError(
        f"{place}: seed: a variant with a seed of its own begins with fresh weights; leave out init_from."
      )
    return seed

  def _gridded(self, variant: Variant) -> list[Variant]:
    """The variants that the grid makes of one; itself where the grid is not of it."""
    grid = dict(_mapping(self._content.get("grid", {}), "grid"))
    names = list(_mapping(self._content["variants"], "variants"))
    of = grid.pop("of", names)
    of = [of] if isinstance(of, str) else of
    if not isinstance(of, list):
      raise InputError(f"grid: of: expected names of variants, got {of!r}.")
    for name in of:
      if name not in names:
        raise InputError(f"grid: of: no variant is called {name!r}; {expected(name, names)}.")
    if not grid:
      if "grid" in self._content:
        raise InputError("grid: expected settings, each with a list of values, such as margin: [0.03, 0.1].")
      return [variant]
    for flag, values in grid.items():
      if not isinstance(values, list) or not values:
        raise InputError(f"grid: {flag}: expected a list of values, got {values!r}.")
    if variant.name not in of:
      return [variant]
    made = []
    for values in itertools.product(*grid.values()):
      own = self._flags(dict(zip(grid, values)), "grid")
      for flag in own:
        if flag in variant.flags:
          raise InputError(f"grid: {flag}: is set by the variant {variant.name}, too; leave one of them out.")
      ending = "".join(f"_{flag}_{re.sub(r'[^A-Za-z0-9.+-]+', '_', ','.join(texts))}" for flag, texts in own.items())
      made.append(dataclasses.replace(variant, name=f"{variant.name}{ending}", flags={**variant.flags, **own}))
    return made

  def _preset(self, value: typing.Any, place: str) -> str | None:
    if value is None:
      return None
    with _place(place):
      presets.find(_word(value, "preset"), self._spec.name)
    return value

  def _flags(self, given: typing.Any, place: str) -> dict[str, Texts]:
    """Settings by the names of flags, as texts; their values are checked."""
    found: dict[str, Texts] = {}
    for flag, value in _mapping({} if given is None else given, place).items():
      if flag in _NOT_SETTINGS:
        raise InputError(f"{place}: {flag} is no setting of a variant; in a plan it is {_NOT_SETTINGS[flag]}.")
      if flag in self._folders:
        found[flag] = (_word(value, f"{place}: {flag}"),)
      elif flag == "init_checkpoint":
        found[flag] = _texts(value, False, f"{place}: {flag}")
        if not re.fullmatch(r"best|last|\d+", found[flag][0]):
          raise InputError(f"{place}: {flag}: expected best, last or a step, got {value!r}.")
      elif flag not in self._options:
        raise InputError(
          f"{place}: no flag of tla-train for {self._spec.name} is called {flag!r}; {_near(flag, self._options)}"
        )
      else:
        found[flag] = _texts(value, flag == "schedule", f"{place}: {flag}")
        with _place(f"{place}: {flag}"):
          if flag == "method":
            recipes.get(found[flag][0])
          elif flag != "schedule":
            parsed(self._options[flag], found[flag][0])
    return found

  def _require_sound(self, variant: Variant, variants: tuple[Variant, ...], own: Flags) -> None:
    begun, names = variant.init_from, [other.name for other in variants]
    if begun is not None and begun not in names:
      several = [other.name for other in variants if other.base == begun]
      if several:
        raise InputError(f"init_from: {begun} stands for {len(several)} variants of the grid; name one: {several}.")
      raise InputError(f"init_from: no variant is called {begun!r}; {expected(str(begun), names)}.")
    if begun is None and "init_checkpoint" in own:
      raise InputError("init_checkpoint: needs init_from, the variant that it is a checkpoint of.")
    in_file = presets.texts(variant.preset, self._spec.name) if variant.preset else {}
    if "method" not in {**in_file, **variant.flags}:
      raise InputError(f"method: is missing; name one of {recipes.names()}.")
    method = {**in_file, **variant.flags}["method"][-1]
    useless = next((flag for flag in own if flag in recipe_options() and flag not in recipes.get(method).flags()), None)
    if useless:
      raise InputError(f"{useless}: has no effect on the method {method}.")
    resolved(self._spec.name, variant.preset, variant.flags, begun is not None)

  def _require_of_use(self, common: Flags, variants: tuple[Variant, ...]) -> None:
    """Refuses a common setting that no variant's method has."""
    own = recipe_options()
    methods = {resolved(self._spec.name, v.preset, v.flags, False).method for v in variants}
    for flag in common:
      if flag in own and not any(flag in recipes.get(method).flags() for method in methods):
        raise InputError(f"settings: {flag}: has no effect on any of the methods {sorted(methods)}.")

  # ------------------------------------------------------------- judging

  def _select(self, variants: tuple[Variant, ...]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for group, members in _mapping(self._content.get("select", {}), "select").items():
      _require_name(group, "select")
      members = [members] if isinstance(members, str) else members
      if not isinstance(members, list) or not members:
        raise InputError(f"select: {group}: expected names of variants, got {members!r}.")
      found: list[str] = []
      for name in members:
        meant = [v.name for v in variants if name in (v.name, v.base)]
        if not meant:
          names = sorted({v.name for v in variants} | {v.base for v in variants})
          raise InputError(f"select: {group}: no variant is called {name!r}; {expected(str(name), names)}.")
        found += meant
      twice = next((name for name in found if found.count(name) > 1 or name in taken), None)
      if twice:
        raise InputError(f"select: {group}: {twice} is there twice.")
      if len(found) < 2:
        raise InputError(f"select: {group}: has one variant only, of which there is nothing to choose.")
      alone = next((v.name for v in variants if v.name in found and v.seed is not None), None)
      if alone:
        raise InputError(f"select: {group}: {alone} has a seed of its own; it serves others and is not judged.")
      _require_alike(group, [v for v in variants if v.name in found], self._spec.name)
      taken |= set(found)
      groups[group] = tuple(found)
    return groups

  def _judge(self, variants: tuple[Variant, ...]) -> tuple[Judging, ...]:
    entries = self._content.get("judge", [])
    if not isinstance(entries, list):
      raise InputError("judge: expected a list, each entry such as {suite: [table1], num_examples: 1000}.")
    found: list[Judging] = []
    for number, entry in enumerate(entries, 1):
      place = f"judge {number}"
      entry = dict(_mapping(entry, place))
      source = entry.pop("source", None)
      names = [variant.name for variant in variants]
      if source is not None and source not in names:
        raise InputError(f"{place}: source: no variant is called {source!r}; {expected(str(source), names)}.")
      flags = self._judging_flags(entry, JUDGE, "tla-evaluate", place)
      if not {"suite", "suite_file"} & set(flags):
        raise InputError(f"{place}: give a suite, or a suite_file.")
      if source is not None and "table1" not in flags.get("suite", ("",))[0].split(","):
        raise InputError(f"{place}: source: is for the black-box column of the suite table1, which is not there.")
      if Judging(flags, source) in found:
        raise InputError(f"{place}: is judge {found.index(Judging(flags, source)) + 1} again.")
      found.append(Judging(flags, source))
    return tuple(found)

  def _analyze(self) -> Judging | None:
    if "analyze" not in self._content:
      return None
    entry = self._content["analyze"]
    return Judging(self._judging_flags(_mapping(entry or {}, "analyze"), ANALYZE, "tla-analyze", "analyze"))

  def _judging_flags(self, given: dict, options: tuple[Option, ...], tool: str, place: str) -> dict[str, Texts]:
    known, found = {option.flag: option for option in options}, {}
    for flag, value in given.items():
      if flag not in known:
        raise InputError(f"{place}: no flag of {tool} that goes into a plan is called {flag!r}; {_near(flag, known)}")
      found[flag] = _texts(value, False, f"{place}: {flag}")
      with _place(f"{place}: {flag}"):
        _check_judging(known[flag], found[flag][0])
    return found


# --------------------------------------------------------------------------- parts of a file


@contextlib.contextmanager
def _place(place: str) -> collections.abc.Iterator[None]:
  """Puts a place before the message of an InputError of the body."""
  try:
    yield
  except InputError as error:
    raise InputError(f"{place}: {error}") from None


def _is_seed(value: typing.Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: typing.Any, place: str, example: str = "name: value") -> dict[str, typing.Any]:
  if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
    raise InputError(f"{place}: expected a mapping such as {{{example}}}, got {value!r}.")
  return dict(value)


def _known(given: dict, keys: collections.abc.Iterable[str], place: str) -> None:
  unknown = next((key for key in given if key not in keys), None)
  if unknown is not None:
    raise InputError(f"{place}: unknown key {unknown!r}; {expected(unknown, keys)}.")


def _near(name: str, known: collections.abc.Iterable[str]) -> str:
  """As `expected`, without the list where it is long and a near one is known."""
  said = expected(name, known)
  return said.split("? ")[0] + "?" if "? " in said else f"{said}."


def _word(value: typing.Any, place: str) -> str:
  if not isinstance(value, str) or not value:
    raise InputError(f"{place}: expected a text, got {value!r}.")
  return value


def _require_name(name: str, place: str) -> None:
  if not _NAME.fullmatch(name):
    raise InputError(f"{place}: {name!r} is no name: letters, digits, _, ., + and - (it names a folder).")


def _texts(value: typing.Any, several: bool, place: str) -> Texts:
  """A value as the texts of its flag: a list as one of them between commas, or as several."""
  if isinstance(value, list):
    parts = [text for part in value for text in _texts(part, False, place)]
    return tuple(parts) if several else (",".join(parts),)
  if isinstance(value, bool):
    return (str(value).lower(),)
  if not isinstance(value, (str, int, float)):
    raise InputError(f"{place}: expected a number, a text, true or false, or a list of these, got {value!r}.")
  return (str(value),)


def _require_no_circle(variants: tuple[Variant, ...]) -> None:
  known = {variant.name: variant.init_from for variant in variants}
  for name in known:
    seen, at = [name], known[name]
    while at is not None:
      if at in seen:
        raise InputError(f"init_from: {' begins with '.join([*seen, at])}.")
      seen.append(at)
      at = known[at]


def _require_alike(group: str, variants: list[Variant], dataset: str) -> None:
  """Refuses a group whose accuracies on held-out images are of different attacks or images."""
  first, *others = variants
  expected_ = _validation(first, dataset)
  for other in others:
    if _validation(other, dataset) != expected_:
      raise InputError(
        f"select: {group}: {first.name} and {other.name} are attacked otherwise on held-out images, so their "
        "accuracies there cannot be compared: give them the same validation_attack settings, epsilon, "
        "validation_examples and heldout_examples."
      )


def _validation(variant: Variant, dataset: str) -> tuple:
  config = resolved(dataset, variant.preset, variant.flags, variant.init_from is not None)
  return config.validation_attack, config.validation_examples, config.reading


def _check_judging(option: Option, text: str) -> None:
  """Checks a flag of judging, whose tool says the rest."""
  if option.kind is tuple and option.pixels:
    for part in text.split(","):
      parsed(option._replace(kind=float), part)
  elif option.flag == "suite_file":
    if not pathlib.Path(text).is_file():
      raise InputError(f"{text}: no such file.")
  else:
    value, choices = parsed(option, text), ENTRIES.get(option.flag)
    for one in value if isinstance(value, list) else [text]:
      if choices and one not in choices:
        raise InputError(f"{one!r} is not known; {expected(one, choices)}.")
    if option.kind is int and value < 0:
      raise InputError(f"expected a whole number of at least 0, got {text!r}.")
