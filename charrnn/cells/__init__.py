"""Looking for units that follow something in the text: signals, recordings, scores, ablation, gates. Prints nothing."""
