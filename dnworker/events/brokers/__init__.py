"""Brokers: what numbers and keeps events, and gives each worker those that it has not handled yet."""
