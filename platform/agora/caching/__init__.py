"""What processes remember of the databases, and how a write makes all of them forget it at once."""
