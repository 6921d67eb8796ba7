"""Parity: whether an exported graph gives the vectors that its checkpoint should give."""
