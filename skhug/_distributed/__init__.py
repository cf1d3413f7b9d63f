"""Processes that make one fit together: who they are, how they join, what starts them."""
