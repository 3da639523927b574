"""Grids of cells over delay, execution horizon, executor and delay estimator: planning, running and analysis."""
