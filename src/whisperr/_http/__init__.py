"""A request becomes an answer, over one kept-alive connection."""
