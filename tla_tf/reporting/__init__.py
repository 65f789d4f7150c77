"""Figures from result files; no model runs here."""

from tla_tf.reporting.figures import adversarial_examples, robust_accuracy, training_curves

__all__ = ["adversarial_examples", "robust_accuracy", "training_curves"]
