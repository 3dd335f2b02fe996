"""Randomized spatial blocks, their parts, and the certificate that no part leaks into another."""
