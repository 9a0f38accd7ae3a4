"""The inspector: local pages that show what a database holds. They only read."""
