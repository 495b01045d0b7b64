"""Sources: downloads, archives and file formats."""
