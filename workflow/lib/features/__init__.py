"""The cached features: tensors in a file with checksums, and features made elsewhere."""
