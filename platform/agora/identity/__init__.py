"""Teams and API keys, in the auth database."""
