"""Small pure functions on tensors: distances, examples, checked input, mining, objectives, seeds."""

from tla_tf.ops import distances, examples, inputs, mining, objectives, seeds

__all__ = ["distances", "examples", "inputs", "mining", "objectives", "seeds"]
