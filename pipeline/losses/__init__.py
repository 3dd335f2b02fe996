"""One loss a file. Each honours ignore and pixel weights, and is a sum over samples, so that a step may be worked off in parts."""
