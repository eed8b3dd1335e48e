"""One module a family of data sets; each lists its own in DATA_SETS and imports numpy only inside its readers."""
