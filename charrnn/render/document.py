"""One self-contained HTML file out of a template, a script, a style sheet and data.

Nothing of a text reaches a page but inside the JSON, in which `<` and `&` are escaped, and the page's
Content-Security-Policy names its own script and style by their digests: no other script runs, and nothing is fetched.
"""

import html
import json
import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from charrnn.render.colours import BACKGROUNDS, DARK, LIGHT, SCALES, STEPS, css_colour, step_colour


def document(template, script, style, *, runs="", policy="", scripts=(), **parts):
    """Yield a page as bytes, all ASCII: `template`, with each {{name}} in it filled.

    template  its {{head}} stands for head.html: what every page begins with, down to its title and switches
    runs      what more than the script may run, such as "'wasm-unsafe-eval'"
    policy    what more the Content-Security-Policy allows, such as "worker-src blob:"
    scripts   further scripts that stand in the page's parts, and may run
    parts     text or an iterable of bytes by name; {{script}}, {{style}} and {{policy}} are filled from the others
    """
    rules = [
        "default-src 'none'",
        " ".join(["script-src", *(f"'{_digest(one)}'" for one in (script, *scripts)), runs]).rstrip(),
        f"style-src '{_digest(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        *([policy] if policy else []),
    ]
    parts |= {"policy": "; ".join(rules), "style": style, "script": script}
    template = template.replace("{{head}}", resource("head.html").rstrip("\n"))
    # One pass over the template, so that what is put in is never read as a place to put something.
    for at, piece in enumerate(re.split(r"\{\{(\w+)\}\}", template)):
        part = piece if at % 2 == 0 else parts[piece]
        if isinstance(part, str):
            yield part.encode("ascii")
        else:
            yield from part


def escaped(text):
    """Return text as it stands in HTML, all ASCII."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def scale_names():
    """Return the scales of colours as a page's script knows them."""
    return [{"name": scale.name, "plus": scale.plus_name, "minus": scale.minus_name} for scale in SCALES.values()]


def resource(name, room="charrnn.render"):
    """Return a file of a room, such as "page.css"; all ASCII."""
    return files(room).joinpath(name).read_text(encoding="ascii")


def script_json(value):
    """Return JSON that no HTML parser can take for a tag, a comment or an entity; all ASCII."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=int)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def style(*sheets):
    """Return the style sheet: the colours of both scales on both backgrounds, then page.css, then `sheets`."""

    def variables(scale, background):
        named = {
            f"--{sign}{step}": css_colour(step_colour(factor * step, scale, background))
            for sign, factor in (("p", 1), ("m", -1))
            for step in range(1, STEPS + 1)
        }
        ramp = ",".join(css_colour(step_colour(step, scale, background)) for step in range(-STEPS, STEPS + 1, 4))
        named["--ramp"] = f"linear-gradient(90deg,{ramp})"
        return "".join(f"{name}:{value};" for name, value in named.items())

    def theme(background):
        return f"color-scheme:{background.name};--paper:{background.paper};--ink:{background.ink};"

    first = next(iter(SCALES))
    rules = []
    for before, after in (
        (":root", ""),
        ("@media (prefers-color-scheme:dark){:root:not([data-theme=light])", "}"),
        (":root[data-theme=dark]", ""),
    ):
        background = LIGHT if before == ":root" else DARK
        rules.append(f"{before}{{{theme(background)}{variables(first, background)}}}{after}")
    for scale in list(SCALES)[1:]:
        for background in BACKGROUNDS:
            rules.append(f':root[data-scale="{scale}"][data-theme={background.name}]{{{variables(scale, background)}}}')
    rules += [f".{sign}{step}{{background:var(--{sign}{step})}}" for sign in "pm" for step in range(1, STEPS + 1)]
    return "\n".join([*rules, resource("page.css"), *sheets])


def _digest(text):
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
