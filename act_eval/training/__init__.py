"""How `train` is carried out."""
