"""A call becomes bytes: checked, stamped, given its id, encoded."""
