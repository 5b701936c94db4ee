"""`nano`, the embedded backbone: how it is trained and measured."""
