"""Functions on arrays of embeddings: separation, neighbours, projection; no model is seen here."""

from tla_tf.analysis.neighbours import Neighbours
from tla_tf.analysis.projection import project
from tla_tf.analysis.separation import ClassSeparation, Separation, angular_distances, separation_ratio

__all__ = ["ClassSeparation", "Neighbours", "Separation", "angular_distances", "project", "separation_ratio"]
