"""How `evaluate` and `merge` are carried out."""
