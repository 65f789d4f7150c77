"""Command-line tools: absl mains, one per job. The only place that reads FLAGS."""
