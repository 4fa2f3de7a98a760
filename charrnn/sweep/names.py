"""The names of what a sweep keeps beside its runs: one home, so that whoever looks for them need not load a sweep."""

SPEC = "spec.toml"
RESULTS_JSON, RESULTS_CSV = "results.json", "results.csv"
