"""One loss a file. Each honours ignore and pixel weights and sums over samples: a step may be cut in parts."""
