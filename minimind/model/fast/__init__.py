"""What makes the model fast, apart from the lesson: each file here is held to the plain one by a test."""
