"""Data sets: what is known of each (`catalogue`, light), and how its verified arrays are had (`loading`)."""
