"""What works on methods: finds them, checks them, describes them, writes a new one."""
