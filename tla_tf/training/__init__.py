"""Running a configured training."""
