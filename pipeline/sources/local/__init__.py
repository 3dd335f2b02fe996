"""The user's own files: scenes, vector labels, an independent reference."""
