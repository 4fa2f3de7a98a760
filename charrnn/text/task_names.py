"""The names of what is asked of a set of items; tasks.py says what they mean. Imports nothing."""

STEER, CLASSIFY, BOTH, TRANSLATE = TASKS = ("steer", "classify", "both", "translate")
ASKED = (CLASSIFY, BOTH, TRANSLATE)  # those that are asked for by name
