"""What is made of whole pages, and of all pages together: times, paths, notes, labs, tables, claims."""
