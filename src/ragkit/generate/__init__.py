"""Generators: reading (question, passage) pairs, scoring targets, decoding."""
