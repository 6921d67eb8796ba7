"""Text to representations: one file per family."""
