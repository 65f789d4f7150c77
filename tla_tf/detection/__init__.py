"""Telling attacked or misclassified images by the density of their embeddings."""

from tla_tf.detection.detector import Detector, GraphDetector, scaled, threshold_at
from tla_tf.detection.gaussians import ClassGaussians, fit_gaussians
from tla_tf.detection.roc import Roc, auc_interval, roc_curve

__all__ = [
  "ClassGaussians",
  "Detector",
  "GraphDetector",
  "Roc",
  "auc_interval",
  "fit_gaussians",
  "roc_curve",
  "scaled",
  "threshold_at",
]
