"""Programs that make what the repository ships."""
