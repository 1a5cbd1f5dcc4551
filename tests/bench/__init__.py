"""The measure of speed, `make bench`: ratios against baselines of the same run. Nothing here is a test."""
