"""HUG against its peers on the same work, one module a question."""
