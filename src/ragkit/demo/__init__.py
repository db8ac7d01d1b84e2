"""The embedded example: an index hot-swap on facts of two years, trained and answered offline."""
