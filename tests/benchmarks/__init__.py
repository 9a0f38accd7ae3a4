"""What things cost, measured as ratios within one run: `make bench`. Nothing here passes or fails."""
