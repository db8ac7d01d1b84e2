"""Questions to scored passages: encoders and retrievers."""
