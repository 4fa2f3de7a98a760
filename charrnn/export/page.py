"""One self-contained HTML file in which a model runs: payload, engine and template put together.

    page_pieces(header, weights)    the page as bytes, all ASCII

The template has {{title}}, {{policy}}, {{style}}, {{script}}, {{header}}, {{weights}} and {{engine}}: the last three as
<script type="application/json" id="header">, <script type="text/plain" id="weights"> and <script type="text/plain"
id="engine">, data that the page's own script reads by their ids and hands to a worker made of the engine's text.
"""
