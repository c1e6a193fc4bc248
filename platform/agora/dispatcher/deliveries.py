"""The duty that rings for due webhook deliveries and returns those whose worker went silent."""


def tend_deliveries() -> int:
    """Ring."""
    return 0
