"""Figures from result files; no model runs here."""

from tla_tf.reporting.figures import accuracy_curves, broken_images, robust_accuracy, training_curves

__all__ = ["accuracy_curves", "broken_images", "robust_accuracy", "training_curves"]
