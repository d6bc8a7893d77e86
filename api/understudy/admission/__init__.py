"""What every request passes before an interface sees it, and how errors are answered."""
