"""The training engine: steps, schedule, exact resume, and the check that a network can learn at all."""
