"""Planning, running and finishing an evaluation."""
