"""Pictures of where and why."""
