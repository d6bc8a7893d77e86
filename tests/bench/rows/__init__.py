"""The rows of the table, one file each; several files may belong to one row."""
