"""Processes that train one model in step: who they are, what they tell each other, how they end when one is lost.

Every worker runs the same command; `TF_CONFIG` in its environment says which of them
it is. The first one, the chief, alone reads and writes the run folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import threading
import typing
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context as eager_context

from tla_tf.config import TrainingConfig
from tla_tf.errors import InputError, ToolError, WorkerLostError
from tla_tf.types import DistributionStrategy

_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
_JOBS = ("chief", "worker")
# What the processes of parameter servers and of a separate evaluation are called.
_OTHER_JOBS = {
  "ps": "parameter servers are not supported, every worker holds all weights",
  "evaluator": "held-out images are evaluated by the workers themselves, test images by tla-evaluate afterwards",
}
# At start, and within a step, workers wait so many times `worker_timeout` for each other.
PATIENCE = 10
# A reason that a worker of ours gave before it ended.
_REASON = re.compile(r"/job:(\w+)/(?:replica:0/)?task:(\d+): tla_tf ends: (.*)", re.DOTALL)
_TASK = re.compile(r"/job:(\w+)/(?:replica:0/)?task:(\d+)")
_ABORTED = ("Collective ops is aborted", "coordination", "CoordinationService")


class Cluster(typing.NamedTuple):
  """The processes that train together, and which of them this one is.

  Attributes:
    tasks: (job, number, address) of every worker, the chief first.
    place: position of this process among them.
  """

  tasks: tuple[tuple[str, int, str], ...]
  place: int

  @property
  def is_chief(self) -> bool:
    """Whether this process reads and writes the run folder."""
    return self.place == 0

  def name(self, index: int) -> str:
    """A worker for people: "worker 1 (host1:2222)"."""
    job, number, address = self.tasks[index]
    return f"{job} {number} ({address})"

  @classmethod
  def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Cluster:
    """Reads `TF_CONFIG` as TensorFlow will, and says what is wrong with it.

    Raises:
      InputError: if it is missing, no JSON, lacks addresses or this process's place
        among them, or asks for other kinds of processes than workers.
    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
      raise InputError(
        "`distribution_strategy=multi_worker_mirrored`: the environment variable TF_CONFIG is not set; give every "
        f"worker the addresses of all and its own place among them: TF_CONFIG='{_EXAMPLE}'."
      )
    try:
      given = json.loads(text)
    except ValueError as error:
      raise InputError(f"TF_CONFIG: is not JSON ({error}); expected for instance '{_EXAMPLE}'.") from None
    if not isinstance(given, dict):
      raise _wrong("is no JSON object")
    tasks = cls._addresses(given.get("cluster"))
    return cls(tasks, cls._place(given.get("task"), tasks))

  @staticmethod
  def _addresses(cluster: typing.Any) -> tuple[tuple[str, int, str], ...]:
    if not isinstance(cluster, dict) or not cluster:
      raise _wrong('has no "cluster" with the addresses of all workers')
    for job in cluster:
      _require_worker(job, f'"cluster" has "{job}"')
    tasks = []
    for job in _JOBS:
      addresses = cluster.get(job, [])
      if not isinstance(addresses, list):
        raise _wrong(f'"cluster": "{job}" is no list of addresses')
      for number, address in enumerate(addresses):
        if not (isinstance(address, str) and re.fullmatch(r".+:\d{1,5}", address)):
          raise _wrong(f'"cluster": {address!r} is no address HOST:PORT')
        tasks.append((job, number, address))
    if not tasks:
      raise _wrong('"cluster" names no worker')
    if len(cluster.get("chief", [])) > 1:
      raise _wrong('"cluster" has more than one "chief"')
    known = [address for _, _, address in tasks]
    twice = next((address for address in known if known.count(address) > 1), None)
    if twice is not None:
      raise _wrong(f'"cluster" has the address {twice} twice')
    return tuple(tasks)

  @staticmethod
  def _place(task: typing.Any, tasks: Sequence[tuple[str, int, str]]) -> int:
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
      raise _wrong('has no "task" with the "type" and "index" of this worker')
    job = task["type"]
    _require_worker(job, f'"task" is of "type" {json.dumps(job)}')
    count = sum(known == job for known, _, _ in tasks)
    if not count:
      raise _wrong(f'"task" is of "type" "{job}", of which "cluster" has none')
    # As TensorFlow does, takes the number as a text, too: shells make such.
    number = task["index"]
    if isinstance(number, bool) or not re.fullmatch(r"\d+", str(number)) or int(number) >= count:
      raise _wrong(
        f'"task" has the "index" {json.dumps(number)}, expected a whole number from 0 to {count - 1} for "{job}"'
      )
    return [(known, i) for known, i, _ in tasks].index((job, int(number)))


def _require_worker(job: typing.Any, where: str) -> None:
  if job not in _JOBS:
    why = _OTHER_JOBS.get(job, "a worker is called so") if isinstance(job, str) else "a worker is called so"
    raise _wrong(f"{where}: expected 'worker', or 'chief' for the first one ({why})")


def _wrong(what: str) -> InputError:
  return InputError(f"TF_CONFIG: {what}; expected for instance '{_EXAMPLE}'.")


def is_chief(config: TrainingConfig) -> bool:
  """Whether this process reads and writes the run folder of a training; raises InputError for a bad `TF_CONFIG`."""
  several = config.distribution_strategy is DistributionStrategy.MULTI_WORKER_MIRRORED
  return not several or Cluster.from_environment().is_chief


class Workers:
  """This process among those that train one model; alone, it is the chief and hears itself.

  Args:
    cluster: of several processes.
    strategy: the `tf.distribute.Strategy` that they train under.
    timeout: seconds without a sign of life after which a worker is lost.
  """

  def __init__(self, cluster: Cluster | None = None, strategy: tf.distribute.Strategy | None = None, timeout: int = 0):
    self._cluster = cluster
    self.strategy = strategy or tf.distribute.get_strategy()
    self._timeout = timeout

  @property
  def is_chief(self) -> bool:
    """Whether this process reads and writes the run folder."""
    return self._cluster is None or self._cluster.is_chief

  @property
  def together(self) -> bool:
    """Whether there are others."""
    return self._cluster is not None and len(self._cluster.tasks) > 1

  def described(self) -> str:
    """Who this is, for people: "worker 1 (host1:2222) of 2"."""
    return f"{self._cluster.name(self._cluster.place)} of {len(self._cluster.tasks)}" if self._cluster else "alone"

  def name(self, index: int) -> str:
    """A worker for people."""
    return self._cluster.name(index) if self._cluster else "this process"

  def meet(self) -> None:
    """Waits until all workers have come here."""
    self.gather()

  def gather(self, text: str = "") -> list[str]:
    """A text of every worker, in the order of the workers; every worker must call it, and waits for the others."""
    if not self.together:
      return [text]
    words = text.encode("utf-8")
    lengths = self._sum(self._row([len(words)]))
    # Never of no width: TensorFlow's sum of nothing ends the process.
    found = self._sum(self._row(list(words), max(1, int(lengths.max()))))
    return [bytes(row[:length].astype(np.uint8)).decode("utf-8") for row, (length,) in zip(found, lengths)]

  def _row(self, values: Sequence[int], width: int = 1) -> np.ndarray:
    """int64 [workers, width], 0 but for the beginning of this worker's row."""
    cluster: typing.Any = self._cluster
    rows = np.zeros([len(cluster.tasks), width], np.int64)
    rows[cluster.place, : len(values)] = values
    return rows

  def from_chief(self, text: str = "") -> str:
    """The chief's text, on every worker; of the others `text` is of no account."""
    return self.gather(text if self.is_chief else "")[0]

  def share(self, variables: Sequence[typing.Any]) -> None:
    """Gives the variables of every worker the chief's values, to the bit.

    Args:
      variables: Keras's or TensorFlow's, in the same order on every worker.
    """
    if not self.together:
      return
    for variable in variables:
      value = np.asarray(tf.convert_to_tensor(variable))
      # Sums of whole numbers are exact, and know no negative zero.
      bits = value.reshape(-1).view(f"u{value.dtype.itemsize}").astype(np.int64)
      found = self._sum(bits if self.is_chief else np.zeros_like(bits))
      variable.assign(found.astype(f"u{value.dtype.itemsize}").view(value.dtype).reshape(value.shape))

  def _sum(self, values: np.ndarray) -> np.ndarray:
    """int64 of any shape, added up over the workers."""
    strategy = self.strategy
    cluster: typing.Any = self._cluster

    def of_replica(place: tf.distribute.experimental.ValueContext) -> tf.Tensor:
      """The worker's value on its first replica."""
      replicas = place.num_replicas_in_sync // len(cluster.tasks)
      return tf.constant(values if place.replica_id_in_sync_group % replicas == 0 else np.zeros_like(values))

    per_replica = strategy.experimental_distribute_values_from_function(of_replica)
    return np.asarray(strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None))

  @contextlib.contextmanager
  def watched(self, remedy: str) -> Iterator[None]:
    """Ends all workers with one sentence each when one of them ends within the body.

    Args:
      remedy: what the sentence on a lost worker says to do.

    Raises:
      WorkerLostError: if another worker is lost, or ended for a reason that it gave.
    """
    if not self.together:
      yield
      return
    try:
      yield
    except tf.errors.OpError as error:
      if not _of_a_peer(error):
        self._report(error)
        raise
      raise self._lost(error.message, remedy) from error
    except BaseException as error:
      self._report(error)
      raise

  def _report(self, error: BaseException) -> None:
    """Tells the others why this worker ends: they would wait for it."""
    sentence = str(error) if isinstance(error, ToolError) else f"{type(error).__name__}: {error}"
    kind = "" if isinstance(error, ToolError) and not isinstance(error, WorkerLostError) else "lost "
    with contextlib.suppress(Exception):  # They may have ended, too.
      eager_context.context().report_error_to_cluster(tf.errors.UNAVAILABLE, f"tla_tf ends: {kind}{sentence}"[:2000])

  def _lost(self, message: str, remedy: str) -> WorkerLostError:
    """The error of this worker after the end of another."""
    cluster: typing.Any = self._cluster
    known = {(job, number): i for i, (job, number, _) in enumerate(cluster.tasks)}
    reason = _REASON.search(message)
    if reason and (reason[1], int(reason[2])) in known:
      who = cluster.name(known[reason[1], int(reason[2])])
      sentence = reason[3].splitlines()[0]
      if sentence.startswith("lost "):
        return WorkerLostError(f"{who} ended ({sentence[5:]}); {remedy}.")
      # It would end so again.
      error = WorkerLostError(f"{who} ended: {sentence}")
      error.status = ToolError.status
      return error
    named = [known.get((job, int(number))) for job, number in _TASK.findall(message)]
    others = [i for i in dict.fromkeys(named) if i is not None and i != cluster.place]
    who = cluster.name(others[-1]) if others else "another worker"
    return WorkerLostError(
      f"{who} is lost: it ended, or gave no sign of life for `worker_timeout={self._timeout}` seconds; {remedy}."
    )


class InStep(keras.callbacks.Callback):
  """Ends a training whose workers no longer have the same weights: at the end of every interval they compare digests.

  Args:
    workers: Workers.
  """

  def __init__(self, workers: Workers):
    super().__init__()
    self._workers = workers

  def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
    digests = self._workers.gather(digest(self.model.state()))
    if len(set(digests)) > 1:
      other = next(i for i, found in enumerate(digests) if found != digests[0])
      step = int(tf.convert_to_tensor(self.model.optimizer.iterations))
      raise ToolError(
        f"After step {step} {self._workers.name(other)} has other weights than {self._workers.name(0)}: workers need "
        "the same versions of all packages, and a method whose variables are the same on every replica."
      )


def digest(state: Mapping[str, typing.Any]) -> str:
  """SHA-256 of all that training changes, see `RobustModel.state`, as hex."""
  found = hashlib.sha256()
  for name in sorted(state):
    for variable in state[name].variables:
      found.update(np.ascontiguousarray(tf.convert_to_tensor(variable)).tobytes())
  return found.hexdigest()


def _of_a_peer(error: tf.errors.OpError) -> bool:
  kinds = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
  return isinstance(error, kinds) or any(words in str(error) for words in _ABORTED)


def join(timeout: int) -> Workers:
  """Meets the other workers of `TF_CONFIG`: waits until all are there, and makes their strategy.

  To be called before TensorFlow has computed anything in this process.

  Args:
    timeout: seconds without a sign of life after which a worker is lost; for the start
      it is ten times as long.

  Raises:
    InputError: for a `TF_CONFIG` or an address of no use, or if it is too late.
    WorkerLostError: if not all come in time.
  """
  cluster = Cluster.from_environment()
  own = cluster.name(cluster.place)
  context = eager_context.context()
  if context._context_handle is not None:  # noqa: SLF001
    raise InputError(
      "`distribution_strategy=multi_worker_mirrored`: workers must meet before TensorFlow computes anything; train in "
      "a new process, or with tla-train."
    )
  leader = cluster.tasks[0][0]
  try:
    context.configure_coordination_service(
      service_type="standalone",
      service_leader=f"/job:{leader}/replica:0/task:0",
      cluster_register_timeout_in_ms=1000 * timeout * PATIENCE,
      heartbeat_timeout_in_ms=1000 * timeout,
      shutdown_barrier_timeout_in_ms=10_000,
    )
    for job in dict.fromkeys(job for job, _, _ in cluster.tasks):
      context.coordination_service.coordinated_job_list.add(
        name=job, num_tasks=sum(known == job for known, _, _ in cluster.tasks)
      )
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=float(timeout * PATIENCE))
    with _terminable():
      strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
  except tf.errors.DeadlineExceededError as error:
    raise WorkerLostError(
      f"{own}: not all of the {len(cluster.tasks)} workers came within {timeout * PATIENCE} seconds; start the same "
      f"command on every worker of TF_CONFIG, or let them wait longer: {PATIENCE} times `worker_timeout`."
    ) from error
  except tf.errors.OpError as error:
    if _of_a_peer(error):
      raise WorkerLostError(
        f"{own}: could not join the others, of which one ended or has not yet ended an earlier run; start the same "
        f"command again on every worker ({error.message.splitlines()[0][:200]})."
      ) from error
    raise InputError(
      f"{own}: cannot listen on its address of TF_CONFIG, which must be a free one of this machine "
      f"({error.message.splitlines()[0][:200]})."
    ) from error
  # All workers have equally many batches: asking each other before every one would only take time.
  strategy.extended.experimental_enable_get_next_as_optional = False
  return Workers(cluster, strategy, timeout)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
  """Takes back that TensorFlow ignores SIGTERM once it knows of other workers: schedulers end processes so."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.getsignal(signal.SIGTERM)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
