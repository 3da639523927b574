"""How `study` is carried out."""
