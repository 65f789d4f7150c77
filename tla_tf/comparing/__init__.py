"""Comparing methods and settings over seeds: the plan, its jobs, and what they found."""
