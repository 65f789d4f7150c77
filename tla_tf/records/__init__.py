"""Records of results: the JSON files of a run folder as frozen dataclasses. No TensorFlow here."""

from tla_tf.records.record import Record, plain, read_object

__all__ = ["Record", "plain", "read_object"]
