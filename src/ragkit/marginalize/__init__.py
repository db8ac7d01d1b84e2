"""Marginalizers: p(y|x) from p(z|x) and p(y|x,z), and its decoding (section 2)."""
