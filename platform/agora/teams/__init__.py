"""All of one team: exported, or erased, across both databases and the file store."""
