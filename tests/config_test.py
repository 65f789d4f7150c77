"""Settings: validation, JSON in and out, comparison, published values."""

import dataclasses
import json
import math
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from tla_tf import datasets, published, recipes, registry, types
from tla_tf.config import AttackConfig, InitConfig, ReadingConfig, RecipeConfig, TrainingConfig
from tla_tf.errors import InputError, ToolError
from tla_tf.recipes.adversarial import AdversarialConfig
from tla_tf.recipes.logit_pairing import PairingConfig
from tla_tf.recipes.trades import TradesConfig
from tla_tf.recipes.triplet import TripletConfig, TripletTrainingConfig

UNIT = st.floats(0, 1)
POSITIVE = st.floats(0, 1e6)
COUNT = st.integers(1, 10**9)
ATTACKS = st.builds(
  AttackConfig,
  epsilon=UNIT,
  step_size=UNIT,
  steps=st.integers(0, 10**6),
  random_start=st.booleans(),
  objective=st.sampled_from(types.Objective),
  momentum=st.floats(0, 0.99),
  momentum_rule=st.sampled_from(types.MomentumRule),
  restarts=COUNT,
)
TRIPLETS = st.builds(
  TripletConfig,
  weight=POSITIVE,
  margin=POSITIVE,
  distance=st.sampled_from(types.Distance),
  feature_norm=st.sampled_from(types.FeatureNorm),
  feature_norm_weight=POSITIVE,
  positives=st.sampled_from(types.Positives),
  twin_margin=POSITIVE,
  twin_noise=UNIT,
  negatives=st.sampled_from(types.Negatives),
  switch_anchor=st.booleans(),
)
READINGS = st.builds(
  ReadingConfig,
  heldout=st.integers(0, 10**6),
  classes=st.lists(st.text(), max_size=3, unique=True).map(tuple),
  image_size=st.one_of(st.just(()), st.tuples(st.integers(1, 4096), st.integers(1, 4096))),
  resize=st.sampled_from(types.Resize),
  channels=st.sampled_from([1, 3]),
  use_val=st.booleans(),
  test_fraction=st.floats(0, 0.999),
  split_seed=st.integers(0, 2**63),
  skip_bad=st.booleans(),
)
INITS = st.builds(InitConfig, run_dir=st.text(), checkpoint=st.integers(0, 10**9), digest=st.text("0123456789abcdef"))
DROPS = st.dictionaries(COUNT, POSITIVE, max_size=3).map(lambda drops: tuple(sorted(drops.items())))
RECIPES = {
  "um": st.just(RecipeConfig()),
  "at": st.builds(AdversarialConfig, clean_weight=POSITIVE, attack_mode=st.sampled_from(types.PassMode)),
  "alp": st.builds(PairingConfig, pairing=st.sampled_from(types.PairingTarget), pairing_weight=POSITIVE),
  **dict.fromkeys(
    ("tla", "tla_rn", "tla_sa"),
    st.builds(
      TripletTrainingConfig,
      triplet=TRIPLETS,
      negative_pool=st.sampled_from(types.NegativePool),
      negative_pool_size=COUNT,
      memory_bank_size=st.integers(1, 1 << 24),
      memory_bank_start=st.integers(0, 10**9),
      pairing_weight=POSITIVE,
    ),
  ),
  "trades": st.builds(TradesConfig, beta=POSITIVE, start_deviation=st.floats(1e-6, 1)),
}
METHODS = st.sampled_from(sorted(RECIPES)).flatmap(lambda name: st.tuples(st.just(name), RECIPES[name]))
FACTORS = st.dictionaries(st.integers(0, 10**9), POSITIVE, min_size=1, max_size=3)
SCHEDULES = st.dictionaries(st.sampled_from(["epsilon", "step_size", "cross_entropy", "weight_decay"]), FACTORS).map(
  lambda given: tuple((name, tuple(sorted(points.items()))) for name, points in given.items())
)
TRAININGS = st.builds(
  lambda method, **settings: TrainingConfig(method=method[0], recipe=method[1], **settings),
  method=METHODS,
  schedules=SCHEDULES,
  weight_average=st.floats(0, 0.999),
  weight_average_start=st.integers(0, 10**9),
  dataset=st.sampled_from(["digits", "mnist"]),
  network=st.sampled_from(["mlp", "lenet_8"]),
  attack=ATTACKS,
  validation_attack=ATTACKS,
  validation_examples=COUNT,
  batch_size=COUNT,
  train_steps=COUNT,
  optimizer=st.sampled_from(["adam", "momentum"]),
  learning_rate=POSITIVE,
  learning_rate_drops=DROPS,
  weight_decay=POSITIVE,
  label_smoothing=UNIT,
  seed=st.integers(0, 2**63),
  deterministic=st.booleans(),
  jit=st.sampled_from(types.Jit),
  checkpoint_every=COUNT,
  keep_checkpoints=COUNT,
  data_source=st.sampled_from(types.DataSource),
  reading=READINGS,
  init=INITS,
  augment_pad=st.integers(0, 256),
  augment_flip=st.booleans(),
  warmup_steps=st.integers(0, 10**6),
)
CHOICES = [
  (AttackConfig, "objective", types.Objective),
  (AttackConfig, "momentum_rule", types.MomentumRule),
  (TripletConfig, "distance", types.Distance),
  (TripletConfig, "feature_norm", types.FeatureNorm),
  (TripletConfig, "positives", types.Positives),
  (TripletConfig, "negatives", types.Negatives),
  (AdversarialConfig, "attack_mode", types.PassMode),
  (PairingConfig, "pairing", types.PairingTarget),
  (TripletTrainingConfig, "negative_pool", types.NegativePool),
  (TrainingConfig, "jit", types.Jit),
  (TrainingConfig, "data_source", types.DataSource),
  (TrainingConfig, "learning_rate_schedule", types.Schedule),
  (ReadingConfig, "resize", types.Resize),
]
UNIT_FIELDS = [
  (AttackConfig, "epsilon"),
  (AttackConfig, "step_size"),
  (TripletConfig, "twin_noise"),
  (TrainingConfig, "label_smoothing"),
]
NUMBER_FIELDS = (
  UNIT_FIELDS
  + [(AttackConfig, "momentum"), (ReadingConfig, "test_fraction")]
  + [(TripletConfig, name) for name in ("weight", "margin", "feature_norm_weight", "twin_margin")]
  + [(TrainingConfig, name) for name in ("learning_rate", "weight_decay", "weight_average")]
  + [(AdversarialConfig, "clean_weight"), (PairingConfig, "pairing_weight"), (TradesConfig, "beta")]
)
COUNT_FIELDS = (
  [(AttackConfig, "restarts")]
  + [
    (TrainingConfig, name)
    for name in ("batch_size", "train_steps", "checkpoint_every", "keep_checkpoints", "validation_examples")
  ]
  + [(TripletTrainingConfig, name) for name in ("negative_pool_size", "memory_bank_size")]
)
WHOLE_FIELDS = (
  COUNT_FIELDS
  + [(AttackConfig, "steps"), (ReadingConfig, "heldout"), (ReadingConfig, "channels"), (ReadingConfig, "split_seed")]
  + [(InitConfig, "checkpoint")]
  + [(TrainingConfig, name) for name in ("seed", "augment_pad", "warmup_steps", "cosine_steps", "weight_average_start")]
)
BOOL_FIELDS = [
  (AttackConfig, "random_start"),
  (TripletConfig, "switch_anchor"),
  (TrainingConfig, "deterministic"),
  (TrainingConfig, "augment_flip"),
  (ReadingConfig, "use_val"),
  (ReadingConfig, "skip_bad"),
]
SCHEDULE_VALUES = [
  None,
  3,
  "epsilon",
  ("epsilon",),
  (("epsilon", ()),),
  (("epsilon", ((0, -1.0),)),),
  (("epsilon", ((0, math.inf),)),),
  (("epsilon", ((5, 1.0), (0, 1.0))),),
  (("epsilon", ((0.5, 1.0),)),),
  (("epsilon", ((0, 1.0),)), ("epsilon", ((0, 1.0),))),
  ((3, ((0, 1.0),)),),
  (("tripletz", ((0, 1.0),)),),
]
DROP_VALUES = [
  ((0, 0.1),),
  ((-5, 0.1),),
  ((20, 0.1), (10, 0.01)),
  ((10, 0.1), (10, 0.01)),
  ((10, -0.1),),
  ((10, math.nan),),
  ((10, math.inf),),
  ((10.5, 0.1),),
  ((10,),),
  (10, 0.1),
  10,
  "soon",
  ((10, "slow"),),
]
READING_VALUES = {
  "classes": ["cat", ["cat", "cat"], (1, 2), None, 3],
  "channels": [0, 2, 4],
  "test_fraction": [1.0, 1.5],
  "image_size": [(5,), (5, 5, 5), (0, 5), (5, -1), (5, 5000), (5.0, 5), ("5", "5"), (True, 5), 64, "64", None],
}
INVALID = (
  [(cls, name, value) for cls, name in NUMBER_FIELDS for value in (-1e-9, math.nan, math.inf, True, "0.1", None)]
  + [(cls, name, 1.001) for cls, name in UNIT_FIELDS]
  + [(cls, name, value) for cls, name in WHOLE_FIELDS for value in (-1, 1.0, True, "3", None)]
  + [(cls, name, 0) for cls, name in COUNT_FIELDS]
  + [(cls, name, value) for cls, name, _ in CHOICES for value in ("no such", 3, None)]
  + [(cls, name, value) for cls, name in BOOL_FIELDS for value in (1, "true", None)]
  + [
    (TrainingConfig, name, value)
    for name in ("attack", "validation_attack", "reading", "init")
    for value in (None, 3, "pgd")
  ]
  + [(TripletTrainingConfig, "triplet", value) for value in (None, 3, "pgd")]
  + [(TrainingConfig, "recipe", value) for value in (3, "pgd", AdversarialConfig(), TripletConfig())]
  + [(TrainingConfig, name, value) for name in ("dataset", "network", "method") for value in (None, 3)]
  + [(TrainingConfig, "schedules", value) for value in SCHEDULE_VALUES]
  + [(TrainingConfig, "weight_average", 1.0)]
  + [(InitConfig, name, value) for name in ("run_dir", "digest") for value in (None, 3)]
  + [(ReadingConfig, name, value) for name, values in READING_VALUES.items() for value in values]
  + [(TrainingConfig, "attack", TripletConfig()), (TrainingConfig, "optimizer", "sgd")]
  + [(TrainingConfig, "learning_rate_drops", value) for value in DROP_VALUES]
)


def _label(value):
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    value = type(value)
  return value.__name__ if isinstance(value, type) else repr(value)


@hypothesis.given(st.one_of(ATTACKS, TRIPLETS, READINGS, INITS, TRAININGS))
@hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
def test_json_round_trip(config):
  text = json.dumps(config.to_dict())
  assert type(config).from_dict(json.loads(text)) == config


def test_json_of_an_attack_is_plain():
  assert AttackConfig().to_dict() == {
    "epsilon": 0.3,
    "step_size": 0.01,
    "steps": 40,
    "random_start": True,
    "objective": "cross_entropy",
    "momentum": 0.0,
    "momentum_rule": "normalized",
    "restarts": 1,
    "norm": "linf",
  }


def test_json_of_drops_is_a_list_of_pairs():
  config = TrainingConfig(learning_rate_drops=[[50000, 0.01], [60000, 0.001]])
  assert config.learning_rate_drops == ((50000, 0.01), (60000, 0.001))
  assert json.loads(json.dumps(config.to_dict()))["learning_rate_drops"] == [[50000, 0.01], [60000, 0.001]]


def test_json_of_reading_is_plain():
  reading = ReadingConfig(heldout=5, classes=["b", "a"], image_size=[64, 48], resize="crop", channels=1)
  assert (reading.classes, reading.image_size, reading.resize) == (("b", "a"), (64, 48), types.Resize.CROP)
  assert reading.to_dict() == {
    "heldout": 5,
    "classes": ["b", "a"],
    "image_size": [64, 48],
    "resize": "crop",
    "channels": 1,
    "use_val": True,
    "test_fraction": 0.0,
    "split_seed": 0,
    "skip_bad": False,
  }


def test_json_of_a_cosine_keeps_its_length():
  config = TrainingConfig(learning_rate_schedule="cosine", train_steps=300, init=InitConfig("/runs/at", 7, "ab"))
  again = TrainingConfig.from_dict(json.loads(json.dumps({**config.to_dict(), "train_steps": 900})))
  assert (again.cosine_steps, again.init) == (300, config.init)


@pytest.mark.parametrize("cls, name, choice", CHOICES, ids=_label)
def test_choices_are_made_from_their_values(cls, name, choice):
  for member in choice:
    assert getattr(cls(**{name: member.value}), name) is member


@pytest.mark.parametrize("cls, name, value", INVALID, ids=_label)
def test_an_invalid_value_is_named(cls, name, value):
  with pytest.raises(InputError, match=f"`{name}`"):
    cls(**{name: value})


def test_the_message_names_field_expectation_and_value():
  with pytest.raises(InputError) as caught:
    AttackConfig(epsilon=8)
  assert str(caught.value) == "Invalid value for `epsilon`: expected a number of at least 0 and at most 1, received 8."


def test_a_wrong_choice_is_told_the_right_ones():
  with pytest.raises(InputError, match=r"one of \['nearest', 'random', 'authors_random'\], received 'farthest'"):
    TripletConfig(negatives="farthest")


def test_an_input_error_is_a_value_error_for_people():
  assert issubclass(InputError, ValueError) and issubclass(InputError, ToolError)


def test_an_averaged_momentum_above_1_is_refused():
  assert AttackConfig(momentum=1.5).momentum == 1.5
  with pytest.raises(InputError, match="`momentum`"):
    AttackConfig(momentum=1.5, momentum_rule="averaged")


@pytest.mark.parametrize(
  "config",
  [AttackConfig(), TripletConfig(), ReadingConfig(), InitConfig(), TrainingConfig()],
  ids=lambda c: type(c).__name__,
)
def test_configs_are_frozen(config):
  name = dataclasses.fields(config)[0].name
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(config, name, getattr(config, name))


def test_replace_makes_a_checked_copy():
  before = AttackConfig()
  assert (before.replace(steps=7).steps, before.steps) == (7, 40)
  with pytest.raises(InputError, match="`steps`"):
    before.replace(steps=-1)


def test_equal_settings_are_equal_and_hash_alike():
  assert TrainingConfig() == TrainingConfig() and hash(TrainingConfig()) == hash(TrainingConfig())


@pytest.mark.parametrize("cls", [AttackConfig, TripletConfig, ReadingConfig, InitConfig, TrainingConfig])
def test_an_unknown_setting_is_refused(cls):
  with pytest.raises(InputError, match=f"Unknown setting `epsilonn` for {cls.__name__}"):
    cls.from_dict({"epsilonn": 0.1})


def test_an_unknown_nested_setting_is_refused():
  with pytest.raises(InputError, match="Unknown setting `alpha` for TripletConfig"):
    TrainingConfig.from_dict({"recipe": {"triplet": {"alpha": 0.1}}})


def test_an_invalid_nested_setting_is_named():
  with pytest.raises(InputError, match="`margin`"):
    TrainingConfig.from_dict({"recipe": {"triplet": {"margin": -1}}})


def test_equal_settings_have_no_difference():
  assert TrainingConfig().first_difference(TrainingConfig()) is None


def test_the_first_difference_is_named_with_both_values():
  assert TrainingConfig().first_difference(TrainingConfig(batch_size=7)) == ("batch_size", 50, 7)


def test_a_nested_difference_has_a_dotted_name():
  other = TrainingConfig(recipe=TripletTrainingConfig(triplet=TripletConfig(margin=0.25)))
  assert TrainingConfig().first_difference(other) == ("recipe.triplet.margin", 0.05, 0.25)


def test_a_difference_of_a_choice_is_its_value():
  assert TrainingConfig().first_difference(TrainingConfig(method="at")) == ("method", "tla", "at")


def test_a_difference_of_drops_is_seen():
  name, was, now = TrainingConfig().first_difference(TrainingConfig(learning_rate_drops=((5, 0.1),)))
  assert (name, was, now) == ("learning_rate_drops", [], [[5, 0.1]])


@pytest.mark.parametrize("name", ["train_steps", "keep_checkpoints"])
def test_how_long_to_run_and_what_to_keep_may_change(name):
  assert TrainingConfig().first_difference(TrainingConfig(**{name: 77})) is None


def test_where_the_first_weights_lie_may_change_but_not_what_they_are():
  base = TrainingConfig(init=InitConfig("/runs/at", 7, "ab"))
  assert base.first_difference(base.replace(init=InitConfig("/moved/at", 8, "ab"))) is None
  assert base.first_difference(base.replace(init=InitConfig("/runs/at", 7, "cd"))) == ("init.digest", "ab", "cd")


def test_the_length_of_a_cosine_may_not_change():
  base = TrainingConfig(learning_rate_schedule="cosine")
  assert base.first_difference(base.replace(cosine_steps=77)) == ("cosine_steps", 1000, 77)


@pytest.mark.parametrize(
  "changes",
  [dict(heldout=9), dict(classes=("a",)), dict(image_size=(9, 9)), dict(resize="crop"), dict(channels=1)],
  ids=str,
)
def test_no_setting_of_reading_may_change(changes):
  [name] = changes
  found = TrainingConfig().first_difference(TrainingConfig(reading=changes))
  assert found[0] == f"reading.{name}"


def test_every_other_setting_may_not_change():
  base = TrainingConfig()
  other = {
    "dataset": "mnist",
    "data_source": "tfds",
    "method": "um",
    "network": "lenet",
    "attack": AttackConfig(steps=1),
    "validation_attack": AttackConfig(steps=1),
    "validation_examples": 9,
    "recipe": TripletTrainingConfig(pairing_weight=9),
    "schedules": (("epsilon", ((0, 0.5),)),),
    "weight_average": 0.9,
    "weight_average_start": 9,
    "batch_size": 9,
    "optimizer": "momentum",
    "learning_rate": 9.0,
    "learning_rate_drops": ((9, 9.0),),
    "weight_decay": 9.0,
    "label_smoothing": 0.9,
    "seed": 9,
    "deterministic": False,
    "jit": "off",
    "checkpoint_every": 9,
    "reading": ReadingConfig(heldout=9),
    "augment_pad": 9,
    "augment_flip": True,
    "init": InitConfig(digest="9"),
    "learning_rate_schedule": "cosine",
    "warmup_steps": 9,
    "accumulate_steps": 10,
    "attack_batch_size": 9,
    "attack_precision": "bfloat16",
    "mixed_precision": "bfloat16",
    "distribution_strategy": "mirrored",
    "sync_batch_norm": False,
    "negatives_across_replicas": False,
    "replicas": 2,
  }
  may_change = {name for name in TrainingConfig.MAY_CHANGE if "." not in name}
  only_of_a_cosine = {"cosine_steps"}
  assert set(other) | may_change | only_of_a_cosine == {field.name for field in dataclasses.fields(base)}
  for name, value in other.items():
    assert base.first_difference(base.replace(**{name: value}))[0].split(".")[0] == name


def test_the_docstring_says_which_settings_may_change():
  told = TrainingConfig.__doc__.split("everything else")[0]
  assert set(re.findall("`([a-z_.]+)`", told)) == TrainingConfig.MAY_CHANGE


# ------------------------------------------------------------------- published settings


def test_mnist_is_the_authors_configuration():
  config = published.setting("mnist")
  assert (config.dataset, config.network, config.method) == ("mnist", "lenet", "tla")
  assert config.attack == AttackConfig(epsilon=0.3, step_size=0.01, steps=40, random_start=True)
  assert config.validation_attack == AttackConfig(epsilon=0.3, step_size=0.01, steps=100, random_start=True)
  assert (config.batch_size, config.recipe.negative_pool_size, config.train_steps) == (50, 50, 600_000)
  assert (config.optimizer, config.learning_rate, config.learning_rate_drops) == ("adam", 1e-4, ())
  assert (config.weight_decay, config.seed) == (2e-4, 221760322)
  assert config.recipe.clean_weight == config.recipe.pairing_weight == 0
  assert config.recipe.negative_pool is types.NegativePool.FRESH


def test_mnists_triplet_is_the_authors():
  triplet = published.setting("mnist").recipe.triplet
  assert (triplet.weight, triplet.margin, triplet.feature_norm_weight) == (0.5, 0.05, 1e-4)
  assert (triplet.distance, triplet.feature_norm) == (types.Distance.ANGULAR, types.FeatureNorm.MEAN_SQUARE)
  assert (triplet.positives, triplet.negatives) == (types.Positives.CLASSMATE, types.Negatives.NEAREST)
  assert not triplet.switch_anchor


@pytest.mark.parametrize("network", ["lenet", "lenet_8", "mlp", "mlp_256"])
@pytest.mark.parametrize("method", recipes.names())
@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_only_lenet_under_the_tla_script_smooths_labels(dataset, method, network):
  smooths = network.startswith("lenet") and method in ("alp", "tla", "tla_rn", "tla_sa")
  assert published.setting(dataset, method, network).label_smoothing == (0.1 if smooths else 0.0)


@pytest.mark.parametrize("method", ["at", "alp", "tla", "tla_rn", "tla_sa"])
@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_only_at_on_mnist_attacks_in_training_mode(dataset, method):
  training = dataset == "mnist" and method == "at"
  assert published.setting(dataset, method).recipe.attack_mode.value == ("training" if training else "inference")


@pytest.mark.parametrize("method", ["alp", "tla", "tla_rn", "tla_sa"])
@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_alp_pairs_logits_and_tla_would_pair_embeddings(dataset, method):
  recipe = published.setting(dataset, method).recipe
  assert recipe.pairing.value == ("logits" if method == "alp" else "embedding")
  assert recipe.pairing_weight == (0.5 if method == "alp" else 0.0)


@pytest.mark.parametrize("method", recipes.names())
def test_a_setting_says_its_method_and_network(method):
  config = published.setting("mnist", method, "mlp")
  assert (config.method, config.network) == (method, "mlp")


def test_trades_has_its_papers_numbers():
  mnist, cifar10 = (published.setting(dataset, "trades") for dataset in ("mnist", "cifar10"))
  assert (mnist.recipe.beta, cifar10.recipe.beta) == (1.0, 6.0)
  assert mnist.recipe.start_deviation == cifar10.recipe.start_deviation == 0.001
  assert (mnist.attack.epsilon, mnist.attack.step_size, mnist.attack.steps) == (0.3, 0.01, 40)
  assert (cifar10.attack.step_size, cifar10.attack.steps) == (0.007, 10)
  assert (mnist.optimizer, mnist.learning_rate, cifar10.learning_rate) == ("momentum", 0.01, 0.1)
  assert (mnist.weight_decay, cifar10.weight_decay, mnist.batch_size, cifar10.batch_size) == (0.0, 2e-4, 128, 128)
  assert (cifar10.attack.epsilon, cifar10.augment_pad, cifar10.augment_flip) == (0.031, 4, True)
  # Epochs of the images that are not held out: 100, falling after 54; 76, falling after 74.
  assert (mnist.train_steps, mnist.learning_rate_drops) == (42_969, ((23_203, 0.001),))
  assert (cifar10.train_steps, cifar10.learning_rate_drops) == (29_094, ((28_328, 0.01),))


def test_digits_defaults_to_a_small_mlp():
  config = published.setting("digits")
  assert (config.dataset, config.network, config.attack.epsilon) == ("digits", "mlp_256", 0.2)


def test_an_unknown_data_set_has_no_setting():
  with pytest.raises(InputError, match="'cifar100'"):
    published.setting("cifar100")


def test_a_method_without_a_setting_for_a_data_set_names_those_it_has(monkeypatch):
  spec = dataclasses.replace(datasets.get("digits"), name="flowers", training=TrainingConfig(dataset="flowers"))
  monkeypatch.setitem(registry.DATASETS._entries, "flowers", spec)  # noqa: SLF001
  assert published.setting("flowers", "at").dataset == "flowers"
  with pytest.raises(InputError, match="'tla' has no published setting for data set 'flowers'.*'digits', 'images'"):
    published.setting("flowers", "tla")
  own = TripletTrainingConfig(negative_pool_size=7)
  monkeypatch.setitem(registry.DATASETS._entries, "flowers", dataclasses.replace(spec, methods={"tla": own}))  # noqa: SLF001
  assert published.setting("flowers", "tla").recipe == own


@pytest.mark.parametrize(
  "look_up, near", [(recipes.get, ("tlaa", "tla")), (datasets.get, ("cifar_10", "cifar10"))], ids=["method", "data set"]
)
def test_an_unknown_name_is_told_the_nearest(look_up, near):
  with pytest.raises(InputError, match=f"{near[0]!r}: did you mean {near[1]!r}. expected one of"):
    look_up(near[0])


def test_replace_reaches_the_recipe():
  config = TrainingConfig(method="tla").replace(pairing_weight=0.5, batch_size=7)
  assert (config.recipe.pairing_weight, config.batch_size) == (0.5, 7)
  assert config.replace(train_steps=9).recipe == config.recipe
  other = config.replace(method="alp")
  assert (other.method, other.recipe) == ("alp", PairingConfig())
  with pytest.raises(TypeError, match="beta"):
    config.replace(beta=1.0)
  both = TrainingConfig(method="at").replace(recipe={"clean_weight": 1.0}, attack_mode="training")
  assert (both.recipe.clean_weight, both.recipe.attack_mode) == (1.0, types.PassMode.TRAINING)


def test_tla_rn_and_tla_sa_fix_their_part_of_the_triplet():
  assert TrainingConfig(method="tla_rn").recipe.triplet.negatives is types.Negatives.RANDOM
  authors = TripletTrainingConfig(triplet=TripletConfig(negatives="authors_random"))
  assert TrainingConfig(method="tla_rn", recipe=authors).recipe == authors
  assert TrainingConfig(method="tla_sa").recipe.triplet.switch_anchor
