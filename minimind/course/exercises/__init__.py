"""Exercises that a reader writes and this package checks: `minimind exercise`."""
