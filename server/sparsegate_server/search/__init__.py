"""A request's plan: which model encodes it, what the index is asked, how the answer is explained."""
