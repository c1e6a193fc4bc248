"""Language: the Analyst port, and the embedded analyst that needs no key and no network."""
