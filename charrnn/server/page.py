"""What a browser is shown: at `/` the page in which the model runs, at `/api` how the server is asked."""

import html
import json
import shlex

from charrnn.export.metadata import model_line
from charrnn.export.page import page_pieces
from charrnn.export.payload import PageFacts, make_payload, run_facts
from charrnn.export.weights import DEFAULT_KIND, pack_model


def living_page(model, name: str, encoding: str) -> bytes:
    """Return the page of `charrnn export --html`, without units that were searched for.

    model       the Model that is served
    name        by which clients ask for it
    encoding    in which a model of bytes writes
    """
    facts = PageFacts(
        title=name,
        model_line=model_line(model.config),
        run=run_facts(model.training),
        encoding=encoding,
        found_note="No search for units was made; charrnn export --html makes one.",
        cost_note="The effect of rounding the weights was not measured; charrnn export --html measures it.",
    )
    payload = make_payload(model, pack_model(model, DEFAULT_KIND), DEFAULT_KIND, facts)
    return b"".join(page_pieces(payload.header, payload.weights))


def usage_page(model, name: str, url: str) -> str:
    """Return the page that a browser is shown: how the server is used.

    model    the Model that is served
    name     by which clients ask for it
    url      of the server, without a slash at its end
    """
    config = model.config
    asked = json.dumps({"model": name, "prompt": "", "max_tokens": 300, "temperature": 0.8}, ensure_ascii=False)
    command = f"curl {url}/v1/completions -H 'Content-Type: application/json' -d {shlex.quote(asked)}"
    return _PAGE.format(
        name=html.escape(name),
        about=html.escape(
            f"{config.cell}, {config.num_layers} x {config.hidden_size} units, {config.vocab_size:,} symbols"
        ),
        command=html.escape(command),
        url=html.escape(url),
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; padding: 0.8rem; border: 1px solid #8886; border-radius: 6px; }}
</style>
<h1>{name}</h1>
<p>{about}. Served by charrnn.</p>
<p>Text from a terminal:</p>
<pre>{command}</pre>
<p>Any client of OpenAI's completions can use it at <code>{url}/v1</code>, with any key.
<a href="/v1/models">/v1/models</a> names the model,
<a href="/healthz">/healthz</a> shows whether the server is running.</p>
</html>
"""
