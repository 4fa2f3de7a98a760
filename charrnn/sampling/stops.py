"""Find where a text ends: at the first of some id sequences, while the ids of the text arrive piece by piece."""

from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Finds the first end of any stop sequence in ids that arrive piece by piece (Aho & Corasick 1975).

    A state stands for the longest beginning of a stop sequence with which the ids so far end; state 0 is the empty one.

    depth  list: for each state, the length of this beginning: so many of the last ids may become a stop sequence
    match  list: for each state, the length of the longest stop sequence that ends there, or 0
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
        """Read `ids` up to the end of the first stop sequence; return (state, number of ids read, whether it came)."""
        for n, symbol in enumerate(ids, start=1):
            state = self.advance(state, symbol)
            if self.match[state]:
                return state, n, True
        return state, len(ids), False

    def held_back(self, state: int, is_last: bool) -> int:
        """Return how many of the last ids do not belong to the text: a stop sequence, or what may become one.

        is_last    whether no more ids follow, so that the beginning of a stop sequence is text after all
        """
        return self.match[state] or (0 if is_last else self.depth[state])
