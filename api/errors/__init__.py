"""Errors as clients see them: the catalogue, problem documents, what is wrong with which field."""
