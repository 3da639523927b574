"""How `sweep` is carried out."""
