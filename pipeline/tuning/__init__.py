"""Search of settings of section train: what may be searched, what a trial is worth, and what is written back."""
