"""The webhook portal: plain pages on which whoever holds a link manages a customer's endpoints.

No script and no build step: forms are posted, and answered with a redirect.
"""

from api.portal import deliveries, endpoints, keys
from api.portal.base import blueprint

__all__ = ["blueprint", "deliveries", "endpoints", "keys"]
