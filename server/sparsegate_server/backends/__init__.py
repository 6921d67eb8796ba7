"""Who keeps a collection, behind one protocol."""
