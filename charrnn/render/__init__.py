"""Values to what is looked at: terminal text, pages, pictures, notebooks. Knows no model and no command."""
