"""Weights at rest: rounded to fewer bits, and what parts share stored once.

`compact` rounds one tensor, `packed` keeps the tensors of a whole folder in one file,
`models` builds transformers models of them. Nothing here knows what a part is for.
"""
