"""What a plugin sees and what it gives back. Imports nothing of the rest of the project."""
