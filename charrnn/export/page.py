"""One self-contained HTML file in which a model runs: payload, engine and template put together.

The page is page.html with style and scripts of render's and of this room put into it. Its data are the header as JSON,
the weights in base 64 and the engine's text, from which the page's script makes a worker. Nothing but the page's own
scripts run, and nothing is fetched. The engine and the weights come first: start.js starts the worker and hands it the
weights, piece by piece, while the browser parses the rest.
"""

import re

from charrnn.render.colours import RED_BLUE, STEPS
from charrnn.render.document import document, escaped, resource, scale_names, script_json, style

ROOM = "charrnn.export"
ENGINE = ("products.js", "network.js", "choice.js", "text.js", "engine.js")  # in this order: one text
SCRIPTS = ("sheet.js", "compare.js", "page.js")
PIECE_BYTES = 2**18  # of base 64 in an element of the weights: a multiple of 4
HAND_OVER = "handOver(document.currentScript.previousElementSibling)"


def engine_text():
    """Return the engine as one JavaScript text, for a worker or for Node."""
    return "\n".join(resource(name, ROOM) for name in ENGINE)


def page_pieces(header, weights, scale=RED_BLUE.name, engine=None, piece_bytes=PIECE_BYTES):
    """Yield the page as bytes, all ASCII.

    header, weights    of payload.py: an object, and base 64 as text or bytes
    scale              a name in colours.SCALES: what the page opens with
    engine             the engine's text, where it is not engine_text()
    piece_bytes        base 64 in an element of the weights
    """
    names = scale_names()
    first = [one["name"] for one in names].index(scale)
    yield from document(
        resource("page.html", ROOM),
        resource("common.js") + "".join(resource(name, ROOM) for name in SCRIPTS),
        style(resource("page.css", ROOM)),
        runs="'wasm-unsafe-eval'",  # the engine's matrix products; no text is ever taken for a script
        policy="worker-src blob:",
        scripts=[resource("start.js", ROOM), HAND_OVER],
        start=resource("start.js", ROOM),
        title=escaped(header["title"]),
        header=script_json(header),
        looks=script_json({"scales": names, "first_scale": first, "colours": STEPS}),
        engine=(engine or engine_text()).replace("</script", "<\\/script"),
        weights=_weight_elements(weights.encode("ascii") if isinstance(weights, str) else weights, piece_bytes),
    )


def weights_in(page):
    """Return the weights of a page, a str, as base 64."""
    return "".join(re.findall(r'<template class="weights"[^>]*>(.*?)</template>', page, re.DOTALL))


def _weight_elements(weights, size):
    """Yield the elements that hold the weights, each with a script that hands it over; the last has data-last."""
    for at in range(0, len(weights), size):
        last = b" data-last" if at + size >= len(weights) else b""
        yield b'<template class="weights"' + last + b">"
        yield weights[at : at + size]
        yield b"</template><script>" + HAND_OVER.encode("ascii") + b"</script>\n"
