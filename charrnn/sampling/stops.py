"""Where a text ends: the first of some id sequences, in ids that come piece by piece."""

from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Find the first end of any stop sequence in ids that come piece by piece (Aho & Corasick 1975).

    A state is a node of the tree of the sequences' beginnings: the longest one that the ids end with. State 0 is none.

    depth  its length: how many of the last ids may yet become a stop sequence
    match  the length of the longest stop sequence that ends here, or 0
    """

    def __init__(self, stops: Sequence[Sequence[int]]):
        self.children: list[dict[int, int]] = [{}]
        self.depth = [0]
        self.match = [0]
        self.fall = [0]  # the state for the longest proper ending that is a beginning too
        for stop in stops:
            state = 0
            for symbol in map(int, stop):
                if symbol not in self.children[state]:
                    self.children[state][symbol] = len(self.children)
                    self.children.append({})
                    self.depth.append(self.depth[state] + 1)
                    self.match.append(0)
                    self.fall.append(0)
                state = self.children[state][symbol]
            self.match[state] = self.depth[state]
        waiting = deque(self.children[0].values())
        while waiting:  # breadth first: shallower states are complete
            state = waiting.popleft()
            for symbol, child in self.children[state].items():
                self.fall[child] = self.advance(self.fall[state], symbol)
                waiting.append(child)
            self.match[state] = self.match[state] or self.match[self.fall[state]]

    def advance(self, state: int, symbol: int) -> int:
        """Return the state after one more id."""
        while state and symbol not in self.children[state]:
            state = self.fall[state]
        return self.children[state].get(symbol, 0)

    def run(self, state: int, ids: Sequence[int]) -> tuple[int, int, bool]:
        """Advance over `ids` up to the end of the first stop sequence; return state, ids read, whether it was met."""
        for n, symbol in enumerate(ids, start=1):
            state = self.advance(state, symbol)
            if self.match[state]:
                return state, n, True
        return state, len(ids), False

    def held_back(self, state: int, is_last: bool) -> int:
        """Return how many of the last ids are not text: a complete stop sequence, or what may yet become one.

        is_last    whether no more ids follow: what began like a stop sequence did not become one then
        """
        return self.match[state] or (0 if is_last else self.depth[state])
