"""How a call that takes several stages reports how far it is, to one callback of (what is being done, done, of)."""


class Stages:
    """The stages of one call; progress : its callback, None where nobody wants to know."""

    def __init__(self, progress=None):
        self._progress = progress or (lambda what, done, of: None)

    def begin(self, what):
        """Report that a stage begins; return a function of (done, of) that reports how far it is."""
        self._progress(what, 0, 1)
        return lambda done, of: self._progress(what, done, of)

    def begin_share(self, what):
        """Report that a stage begins; return a function of a share from 0 to 1 that reports how far it is."""
        report = self.begin(what)
        return lambda share: report(share, 1)
