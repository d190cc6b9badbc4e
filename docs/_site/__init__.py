"""The site's machinery: MkDocs hooks in small files. `hooks.py` is where MkDocs enters."""
