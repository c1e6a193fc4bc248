"""The dispatcher: a loop that makes up for every lost message, dead worker and passed time."""
