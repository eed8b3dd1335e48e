"""What makes a result itself, where it comes from, and how it becomes a published one."""
