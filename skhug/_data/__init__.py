"""Rows: what users pass, checked, read, prepared and cut into batches."""
