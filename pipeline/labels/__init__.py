"""Cleaning and refining outlines, with a ledger of everything that was changed."""
