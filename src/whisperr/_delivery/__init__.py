"""When to send, and what an answer means; losses are counted and reported in one place."""
