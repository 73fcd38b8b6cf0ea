"""The commands, one a module. Each has `run(args, config)`, which returns the exit status."""
