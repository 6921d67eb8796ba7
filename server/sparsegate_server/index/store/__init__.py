"""The source of truth: one SQLite database a collection."""
