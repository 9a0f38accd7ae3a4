"""The command line: one small file per command group, each imported when its command runs."""
