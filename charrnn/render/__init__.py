"""Values to terminal text: pure functions that know neither files nor models."""
