"""How a run that has ended is compared, filmed again, reported and shared."""
