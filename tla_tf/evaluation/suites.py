"""Suites of attacks as data.

`table1` and `table3` have the attacks of the paper's tables with its steps and
radii; step sizes are those of the authors' configurations. `auto_attack` is the
standard version of Croce and Hein 2020 in L-infinity, `auto_attack_l2` in L2,
`auto_attack_plus` its version with more starts.
`quick` is ours. `read_suite` reads a user's own list.
"""

from __future__ import annotations

import collections.abc
import contextlib
import pathlib
import re
import reprlib
import typing

from tla_tf import attack_configs, datasets, yaml_file
from tla_tf.attack_configs import (
  GET_LIBRARIES,
  KINDS,
  LIBRARY_ATTACKS,
  SUITES,
  ApgdConfig,
  CarliniWagnerConfig,
  DeepFoolConfig,
  JsmaConfig,
  LibraryConfig,
  TransferConfig,
)
from tla_tf.attacks import auto_attack, presets
from tla_tf.config import AttackConfig
from tla_tf.datasets import SuiteScale
from tla_tf.errors import InputError
from tla_tf.records.shown import pixels
from tla_tf.registry import expected
from tla_tf.types import ApgdLoss, Norm, Objective, Target, values


class NamedAttack(typing.NamedTuple):
  """An attack and what is done with it in a suite.

  Attributes:
    name: its name in tables, unique in an evaluation.
    config: settings, of a class of `attack_configs.KINDS`.
    target: the class to aim at; NONE for an untargeted attack.
    on_survivors: attack only what the suite's earlier attacks left; accuracy
      is then what stands after all of them.
    suite: the suite that it belongs to.
  """

  name: str
  config: typing.Any
  target: Target = Target.NONE
  on_survivors: bool = False
  suite: str = "own"


def suite(
  name: str,
  dataset: str,
  epsilon: float | None = None,
  black_box: bool = False,
  *,
  l2_epsilon: float | None = None,
  l0_epsilon: float | None = None,
) -> tuple[NamedAttack, ...]:
  """The attacks of a suite.

  Args:
    name: one of `SUITES`.
    dataset: a data set's name, whose `SuiteScale` says how far and how long.
    epsilon: replaces the radius of the L-infinity attacks; step sizes scale with it.
    black_box: append the black-box column, which needs a second network.
    l2_epsilon: replaces that of the L2 attacks; the steps of PGD scale with it.
    l0_epsilon: replaces that of the L0 attacks, a share of pixel values.

  Returns:
    Tuple of NamedAttack.

  Raises:
    InputError: for an unknown suite or data set.
  """
  if name not in _MAKERS:
    raise InputError(f"Unknown suite {name!r}: {expected(name, _MAKERS)}.")
  given = datasets.get(dataset).suite_scale
  attacks = list(_MAKERS[name](given))
  if black_box:
    made_by = presets.pgd(given.epsilon, given.step_size, given.black_box_steps)
    attacks.append(NamedAttack(f"BB-{given.black_box_steps}", TransferConfig(made_by)))
  radii = {Norm.LINF: epsilon, Norm.L2: l2_epsilon, Norm.L0: l0_epsilon}
  attacks = [attack._replace(config=_with_epsilon(attack.config, radii[attack.config.norm])) for attack in attacks]
  return tuple(attack._replace(suite=name) for attack in attacks)


def _with_epsilon(config: typing.Any, epsilon: float | None) -> typing.Any:
  if epsilon is None:
    return config
  if isinstance(config, TransferConfig):
    return config.replace(attack=config.attack.scaled(epsilon))
  return config.scaled(epsilon) if isinstance(config, AttackConfig) else config.replace(epsilon=epsilon)


_KINDS_SHOWN = {"carlini_wagner": "C&W", "jsma": "JSMA", "fab": "FAB-T", "square": "Square"}
_LOSSES_SHOWN = {
  ApgdLoss.CROSS_ENTROPY: "CE",
  ApgdLoss.DLR: "DLR",
  ApgdLoss.TARGETED_DLR: "T",
  ApgdLoss.MARGIN: "margin",
}


def usual_name(config: typing.Any) -> str:
  """What suites call an attack of these settings: "20xPGD-40", "APGD-T", "C&W (L2)"."""
  kind = attack_configs.kind(config)
  if isinstance(config, AttackConfig):
    name = _gradient_name(config)
  elif isinstance(config, ApgdConfig):
    name = f"APGD-{_LOSSES_SHOWN[config.loss]}"
  elif isinstance(config, LibraryConfig):
    name = config.attack
  else:
    name = f"DeepFool-{config.steps}" if kind == "deepfool" else _KINDS_SHOWN.get(kind, kind)
  # A number of starts that is a number of classes aimed at is no more than the attack itself.
  starts = f"{config.restarts}x" if config.restarts > 1 and not attack_configs.aims(config) else ""
  return starts + name + {Norm.LINF: "", Norm.L2: " (L2)", Norm.L0: " (L0)"}[config.norm]


def _gradient_name(config: AttackConfig) -> str:
  if config.steps == 0:
    return "noise"
  if config.steps == 1 and not config.random_start:
    return "FGSM"
  plain = "PGD" if config.random_start else "BIM"
  name = "C&W" if config.objective is Objective.MARGIN else "MIM" if config.momentum else plain
  return f"{name}-{config.steps}"


def for_classes(attacks: collections.abc.Iterable[NamedAttack], num_classes: int) -> list[NamedAttack]:
  """Attacks whose losses are none for so few classes are replaced by the nearest that are, under names that say so."""
  found = []
  for attack in attacks:
    config = attack_configs.for_classes(attack.config, num_classes)
    if config != attack.config:
      ending = _LOSSES_SHOWN[typing.cast(ApgdConfig, config).loss]
      attack = attack._replace(name=re.sub("APGD-(T|DLR)", f"APGD-{ending}", attack.name), config=config)
    found.append(attack)
  return found


def _quick(given: SuiteScale) -> tuple[NamedAttack, ...]:
  fixed = (given.epsilon, given.step_size, given.pgd_steps)
  return (
    NamedAttack("FGSM", presets.fgsm(given.epsilon)),
    NamedAttack(f"PGD-{given.pgd_steps}", presets.pgd(*fixed)),
    NamedAttack(f"20xPGD-{given.pgd_steps}", presets.pgd(*fixed, restarts=20)),
  )


def _table1(given: SuiteScale) -> tuple[NamedAttack, ...]:
  short, long = (given.epsilon, given.step_size), (given.epsilon, given.long_step_size)
  return (
    NamedAttack("FGSM", presets.fgsm(given.epsilon)),
    NamedAttack(f"BIM-{given.bim_steps}", presets.bim(*short, given.bim_steps)),
    NamedAttack(f"C&W-{given.margin_steps}", presets.cw_pgd(*long, given.margin_steps)),
    NamedAttack(f"PGD-{given.pgd_steps}", presets.pgd(*short, given.pgd_steps)),
    NamedAttack(f"PGD-{given.long_pgd_steps}", presets.pgd(*long, given.long_pgd_steps)),
    NamedAttack(f"20xPGD-{given.long_pgd_steps}", presets.pgd(*long, given.long_pgd_steps, restarts=20)),
    NamedAttack(f"MIM-{given.mim_steps}", presets.mim(*long, given.mim_steps)),
  )


def _table3(given: SuiteScale) -> tuple[NamedAttack, ...]:
  l2 = (given.l2_epsilon, given.l2_step_size, given.l2_steps)
  return (
    NamedAttack("JSMA (L0)", JsmaConfig(given.l0_epsilon)),
    NamedAttack(f"PGD-{given.l2_steps} (L2)", presets.pgd(*l2, norm=Norm.L2)),
    # The paper's C&W has steps of a fixed size in a ball; the search for the smallest change follows.
    NamedAttack(f"C&W-{given.l2_steps} (L2)", presets.cw_pgd(*l2, norm=Norm.L2)),
    NamedAttack("C&W (L2)", CarliniWagnerConfig(given.l2_epsilon)),
    NamedAttack("DeepFool-2 (L2)", DeepFoolConfig(given.l2_epsilon, steps=2)),
    NamedAttack("DeepFool-50 (L2)", DeepFoolConfig(given.l2_epsilon)),
  )


def _auto_attack(
  given: SuiteScale, norm: Norm = Norm.LINF, version: collections.abc.Callable = auto_attack.standard
) -> tuple[NamedAttack, ...]:
  epsilon, ending = (given.l2_epsilon, " (L2)") if norm is Norm.L2 else (given.epsilon, "")
  return tuple(NamedAttack(name + ending, config, on_survivors=True) for name, config in version(epsilon, norm))


_MAKERS = {
  "quick": _quick,
  "table1": _table1,
  "table3": _table3,
  "auto_attack": _auto_attack,
  "auto_attack_l2": lambda given: _auto_attack(given, Norm.L2),
  "auto_attack_plus": lambda given: _auto_attack(given, version=auto_attack.plus),
}
# Attacks of other libraries, in the balls of the other suites.
CROSS_CHECK = "cross_check"


def cross_check(
  attacks: collections.abc.Sequence[NamedAttack], names: collections.abc.Sequence[str] = ()
) -> list[NamedAttack]:
  """Attacks of other libraries in every ball, L-infinity or L2, that these attacks search.

  Args:
    attacks: ours.
    names: out of `attack_configs.LIBRARY_ATTACKS`; without, all that use gradients or
      scores, of the libraries that are installed.

  Returns:
    List of NamedAttack of the suite `CROSS_CHECK`.

  Raises:
    InputError: for an unknown name, a library that is missing, or attacks in no such
      ball.
  """
  for name in names:
    if name not in LIBRARY_ATTACKS:
      raise InputError(f"`cross_check_attacks`: unknown attack {name!r}: {expected(name, LIBRARY_ATTACKS)}.")
    if not LIBRARY_ATTACKS[name].installed:
      raise InputError(
        f"`cross_check_attacks={name}`: {LIBRARY_ATTACKS[name].distribution} is missing; {GET_LIBRARIES}."
      )
  chosen = names or [name for name, facts in LIBRARY_ATTACKS.items() if facts.installed and not facts.by_decisions]
  searched = dict.fromkeys((attack.config.norm, attack.config.epsilon) for attack in attacks)
  found = []
  for norm, epsilon in searched:
    where = "" if len(searched) == 1 else f" ({'L2' if norm is Norm.L2 else 'L-inf'} {pixels(epsilon)})"
    for name in dict.fromkeys(chosen):
      facts = LIBRARY_ATTACKS[name]
      if norm in facts.norms:
        config = LibraryConfig(name, epsilon, facts.steps, facts.restarts, norm)
        found.append(NamedAttack(f"{name}{where}", config, suite=CROSS_CHECK))
  if not found:
    raise InputError(
      f"`cross_check`: none of {', '.join(chosen)} searches in a ball of these suites, "
      f"{', '.join(norm.value for norm, _ in searched)}; name others, or another suite."
    )
  return found


# Of whole numbers in a user's own list.
_LARGEST = 2**31 - 1
# Kinds whose steps have a fixed length.
_STEPPED = ("bim", "pgd", "cw_pgd", "mim", "gradient")
_PRESETS = {name: getattr(presets, name) for name in ("fgsm", "bim", "pgd", "cw_pgd", "mim", "noise")}


def read_suite(
  path: str | pathlib.Path,
  dataset: str,
  epsilon: float | None = None,
  *,
  l2_epsilon: float | None = None,
  l0_epsilon: float | None = None,
) -> tuple[NamedAttack, ...]:
  """A user's own list of attacks from a YAML or JSON file.

  A list of mappings, or a mapping with the list under "attacks". Each has
  "attack": a preset ("fgsm", "bim", "pgd", "cw_pgd", "mim", "noise") or a kind
  ("gradient", "carlini_wagner", "deepfool", "jsma", "apgd", "fab", "square") or
  an attack of another library ("foolbox_boundary", `attack_configs.LIBRARY_ATTACKS`);
  its settings by name; and, if wanted, "name", "target" ("none", "random",
  "second_likely" or "least_likely") and "on_survivors". Numbers may be
  fractions such as 8/255. An epsilon that is left out is the data set's in the
  attack's norm, steps that are left out are those of its PGD there, and a step size
  that is left out keeps that PGD's steps x step_size / epsilon.

  Args:
    path: the file.
    dataset: a data set's name.
    epsilon: in L-infinity, instead of the data set's where it is left out.
    l2_epsilon: the same in L2.
    l0_epsilon: the same in L0.

  Returns:
    Tuple of NamedAttack.

  Raises:
    InputError: naming the file and the entry, for anything wrong in it.
  """
  path = pathlib.Path(path)
  content = yaml_file.read(path)
  entries = content.get("attacks") if isinstance(content, dict) else content
  if not isinstance(entries, list) or not entries:
    raise InputError(f"{path}: expected a list of attacks, each with 'attack: pgd' or the like.")
  # A file called table1.yaml is not table1.
  title = path.stem if path.stem not in SUITES else path.name
  given = datasets.get(dataset).suite_scale
  usual = {
    Norm.LINF: presets.pgd(given.epsilon, given.step_size, given.pgd_steps).scaled(epsilon),
    Norm.L2: presets.pgd(given.l2_epsilon, given.l2_step_size, given.l2_steps, norm=Norm.L2).scaled(l2_epsilon),
  }
  radii = {norm: pgd.epsilon for norm, pgd in usual.items()}
  radii[Norm.L0] = given.l0_epsilon if l0_epsilon is None else l0_epsilon
  attacks = []
  for number, entry in enumerate(entries, 1):
    try:
      attacks.append(_own_attack(entry, radii, usual)._replace(suite=title))
    except InputError as error:
      # Quotes: in backticks stand arguments of the caller's.
      raise InputError(f"{path}: attack {number}: {error}".replace("`", "'")) from None
  names = [attack.name for attack in attacks]
  twice = next((name for name in names if names.count(name) > 1), None)
  if twice:
    raise InputError(f"{path}: two attacks are called {twice!r}; give each its own 'name'.")
  return tuple(attacks)


def _own_attack(entry: typing.Any, radii: dict[Norm, float], usual: dict[Norm, AttackConfig]) -> NamedAttack:
  if not isinstance(entry, dict) or "attack" not in entry:
    raise InputError("has no 'attack', the kind of attack.")
  settings = {name: value if name in ("name", "attack") else _number(value) for name, value in entry.items()}
  large = next((name for name, value in settings.items() if isinstance(value, int) and abs(value) > _LARGEST), None)
  if large is not None:
    raise InputError(f"{large!r} is too large a number.")
  what = settings.pop("attack")
  name, target = settings.pop("name", None), settings.pop("target", Target.NONE.value)
  on_survivors = settings.pop("on_survivors", False)
  if target not in values(Target):
    raise InputError(f"target {target!r} is none of {values(Target)}.")
  if not isinstance(on_survivors, bool):
    raise InputError(f"on_survivors must be true or false, not {on_survivors!r}.")
  makers: dict[str, typing.Any] = {**_PRESETS, **KINDS, **{name: _of_library(name) for name in LIBRARY_ATTACKS}}
  del makers["transfer"], makers["library"]
  if not isinstance(what, str) or what not in makers:
    raise InputError(f"unknown attack {reprlib.repr(what)}: {expected(what, makers)}.")
  known = LIBRARY_ATTACKS.get(what)
  norm = settings.get("norm", known.norms[0] if known else getattr(makers[what], "norm", Norm.LINF))
  if "epsilon" not in settings:
    if norm not in values(Norm):
      raise InputError(f"norm {norm!r} is none of {values(Norm)}.")
    settings["epsilon"] = radii[Norm(norm)]
  if what in _STEPPED and norm in values(Norm) and norm in usual:
    settings = _with_steps(settings, usual[Norm(norm)])
  try:
    config = makers[what](**settings)
  except InputError:
    raise
  except (TypeError, ValueError, OverflowError) as error:
    # "fgsm() got an unexpected keyword argument 'steps'" names what is wrong in words of Python.
    raise InputError(f"{what}: {str(error).split(') ', 1)[-1]}.") from None
  return NamedAttack(str(name or what), config, Target(target), on_survivors)


def _with_steps(settings: dict[str, typing.Any], usual: AttackConfig) -> dict[str, typing.Any]:
  """Settings with the steps and the step size that they leave out; what is no number is left to be refused."""
  settings = {"steps": usual.steps, **settings}
  with contextlib.suppress(InputError, TypeError):
    pgd = usual.scaled(settings["epsilon"], settings["steps"])
    settings.setdefault("step_size", pgd.step_size)
  return {"step_size": usual.step_size, **settings}


def _of_library(name: str) -> typing.Callable[..., LibraryConfig]:
  """An attack of another library as a suite's file writes it: its name, and settings that differ."""
  facts = LIBRARY_ATTACKS[name]
  return lambda norm=facts.norms[0], **settings: LibraryConfig(
    attack=name, norm=norm, **{"steps": facts.steps, "restarts": facts.restarts, **settings}
  )


def _number(value: typing.Any) -> typing.Any:
  """ "8/255" and "1e-3", which YAML reads as texts, as numbers; anything else as it is."""
  if not isinstance(value, str):
    return value
  numerator, _, denominator = value.partition("/")
  try:
    return float(numerator) / float(denominator or 1)
  except (ValueError, ZeroDivisionError):
    return value
