"""What this worker injects into its steps: built at first use, once per process."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from agora.language.embedded import EmbeddedAnalyst
from agora.language.ports import Analyst
from domains.loader import Domain, load_domain


@lru_cache(maxsize=1)
def base_domain() -> Domain:
    """The knowledge that every domain extends. Raises DomainError when its data is not valid."""
    return load_domain("base")


@lru_cache(maxsize=1)
def ports() -> Mapping[type, Any]:
    """The implementations of the ports, by their type."""
    return {Analyst: EmbeddedAnalyst(base_domain().lexicon), Domain: base_domain()}
