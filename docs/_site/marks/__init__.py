"""What stands inside of text: values, formulas, terms, and marks that are filled in."""
