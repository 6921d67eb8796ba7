"""A request's plan: what is encoded by which model, what the index is asked, why it answered so."""
