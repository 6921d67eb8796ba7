"""Files of the index: written once, checked, mapped into memory."""
