"""The same pages and actions through our environment and through Chromium: what each of them sends."""
