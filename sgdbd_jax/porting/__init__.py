"""Other programs' weights as ours: a reader a file format, a name table a source, and a strict merge."""
