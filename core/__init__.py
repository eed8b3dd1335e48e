"""The shared machinery of Encore: it knows no paper by name."""
