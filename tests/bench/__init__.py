"""What Understudy does beside what others do, measured in one run: `make bench`."""
