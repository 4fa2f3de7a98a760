"""Processes that train one model together, to the same bits however many they are. Knows arrays and ranks, no model."""
