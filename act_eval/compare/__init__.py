"""Is the new one better or worse than the old one? Outcomes of two runs, paired by episode seed."""
