"""What a fence becomes: a question, a checklist, the drawing of the model, a piece of the package."""
