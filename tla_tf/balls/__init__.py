"""The sets that attacks search, one norm a file."""

from tla_tf.balls.linf import LinfBall

__all__ = ["LinfBall"]
