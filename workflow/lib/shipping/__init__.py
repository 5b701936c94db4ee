"""A fitted classifier as a file, and its use on new images."""
