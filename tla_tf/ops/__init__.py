"""Small pure functions on tensors: distances, examples, mining, objectives, seeds."""

from tla_tf.ops import distances, examples, mining, objectives, seeds

__all__ = ["distances", "examples", "mining", "objectives", "seeds"]
