"""What `make` runs beside linters and tests."""
