"""Models: what they are, where their files come from, and how they become Triton models."""
