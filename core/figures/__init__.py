"""The house style of figures and what is drawn in it."""
