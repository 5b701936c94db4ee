"""Images and class names through a frozen backbone."""
