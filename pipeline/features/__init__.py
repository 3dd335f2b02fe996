"""What is computed from bands before any label or network: spectral indices."""
