"""Where raw scenes and labels come from: the embedded scene, or the user's own files."""
