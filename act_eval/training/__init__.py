"""Training runs: their settings, data, folder, and closed-loop evaluations of checkpoints."""
