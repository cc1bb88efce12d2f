"""A PostgreSQL of our own, with a small registry in it."""
