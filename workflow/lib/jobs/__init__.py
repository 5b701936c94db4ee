"""What a process needs on a machine: GPU leases, the fork server, limits, progress, logs, the hash of its code."""
