"""Outlines of OpenStreetMap by their tags, with the query that found them."""
