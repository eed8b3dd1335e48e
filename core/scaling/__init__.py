"""Larger networks than one device takes at once: precision, micro-batches, rematerialisation, batches over devices."""
