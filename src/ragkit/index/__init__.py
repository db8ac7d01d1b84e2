"""Indexes: vectors to nearest neighbours by inner product. They know row numbers, no text."""
