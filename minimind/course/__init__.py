"""What the course needs and a trainer does not: exercises, experiments with their claims and records, plots."""
