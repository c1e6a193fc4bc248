"""Files: what is too large for a request or a row, kept in any fsspec store."""
