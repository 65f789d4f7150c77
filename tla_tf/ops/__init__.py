"""Small pure functions on tensors: distances, mining, objectives, seeds."""

from tla_tf.ops import distances, mining, objectives, seeds

__all__ = ["distances", "mining", "objectives", "seeds"]
