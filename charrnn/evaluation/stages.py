"""How a call that takes several stages reports how far it is, to one callback of (what is being done, done, of)."""


class Stages:
    """The stages of one call; progress : its callback, None where nobody wants to know."""

    def __init__(self, progress=None):
        self._progress = progress or (lambda what, done, of: None)
        self._shares = {}

    def plan(self, costs):
        """Take stages as one piece of work: what is reported of each is how much of all of them is done, from 0 to 1.

        costs    {what: about how long it takes, in any unit}, in their order

        The time that is left can be estimated for all of them then. A stage that is not in a plan is reported on its
        own.
        """
        total, at = sum(costs.values()), 0.0
        self._shares = {}
        for what, cost in costs.items():
            self._shares[what] = at / total, (at + cost) / total
            at += cost

    def begin(self, what):
        """Report that a stage begins; return a function of (done, of) that reports how far it is.

        Given a third argument, it reports what is done meanwhile, on its own.
        """
        low, high = self._shares.get(what, (0.0, None))

        def report(done, of, meanwhile=None):
            if meanwhile is not None:
                self._progress(meanwhile, done, of)
            elif high is None:
                self._progress(what, done, of)
            else:
                self._progress(what, low + (high - low) * done / of, 1)

        report(0, 1)
        return report

    def begin_share(self, what):
        """Report that a stage begins; return a function of a share from 0 to 1 that reports how far it is."""
        report = self.begin(what)
        return lambda share: report(share, 1)
