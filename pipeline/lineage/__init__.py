"""Reads what stages have put on record: trace, verify, replay, compare, promote and sign finished results."""
