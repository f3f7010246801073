"""Writes the pages of docs/reference that a parser, a schema, a table or a docstring knows better than a writer."""
