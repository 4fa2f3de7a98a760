"""The plug-in for the `llm` command line: each run is a model of its own, charrnn/NAME.

    llm -m charrnn/shakespeare-1 'ROMEO:' -o temperature 0.8 -o seed 1

`llm` loads every plug-in at each start, so nothing here imports NumPy before a text is asked for. The texts are those
of `charrnn serve`: what a request may ask for is said in the same words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import llm
from pydantic import Field

from charrnn.errors import CharRNNError
from charrnn.files.own import BEST, LAST, RUNS_FOLDER

ENVIRONMENT = "CHARRNN_RUNS"  # runs elsewhere: run folders, checkpoint files or folders of runs, with colons between


@llm.hookimpl
def register_models(register):
    for name, path in find_runs(os.environ.get(ENVIRONMENT, "")).items():
        register(CharacterModel(name, path))


def find_runs(elsewhere: str) -> dict[str, Path]:
    """Return {name: run folder or checkpoint} of ./checkpoints and of what ENVIRONMENT names; of a name the first."""
    found: dict[str, Path] = {}
    for place in [Path(RUNS_FOLDER), *(Path(one) for one in elsewhere.split(os.pathsep) if one)]:
        for path in [place] if _is_model(place) else _inside(place):
            name = path.stem if path.suffix == ".safetensors" else path.resolve().name
            found.setdefault(name, path)
    return found


def _inside(folder):
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and _is_model(path))
    except OSError:
        return []


def _is_model(path):
    if path.suffix == ".safetensors":
        return path.is_file()
    return any((path / file).is_file() for file in (BEST, LAST))


class CharacterModel(llm.Model):
    """A run as a model of `llm`. It goes on with the prompt as it stands, and knows no instructions."""

    can_stream = True
    supports_conversation = False

    class Options(llm.Options):
        temperature: float | None = Field(
            default=None,
            description="Below 1 more predictable, above 1 more surprising; 0 always takes the most likely character.",
        )
        length: int | None = Field(default=None, description="Maximum number of new characters; 1,000 by default.")
        seed: int | None = Field(default=None, description="The same seed gives the same text.")
        top_k: int | None = Field(default=None, description="Draw only from the K most likely characters.")
        top_p: float | None = Field(
            default=None, description="Draw only from the most likely characters that together reach this probability."
        )
        min_p: float | None = Field(
            default=None, description="Draw only characters at least this many times as likely as the most likely one."
        )
        stop: str | None = Field(default=None, description="Stop the text at this string.")
        given: str | None = Field(default=None, description="For a model that writes texts for a label: the label.")

    def __init__(self, name: str, path: Path):
        self.model_id, self.path = f"charrnn/{name}", path
        self._served = None

    def execute(self, prompt, stream, response, conversation) -> Iterator[str]:
        if prompt.system:
            raise llm.ModelError("a character model continues a text and has no system prompt: leave it out")
        try:
            yield from self._texts(prompt, response)
        except CharRNNError as error:
            raise llm.ModelError(str(error)) from None

    def _texts(self, prompt, response):
        """Yield the text piece by piece, and tell the log of `llm` about it."""
        from charrnn.server.answers import Answer
        from charrnn.server.batching import Batch
        from charrnn.server.protocol import Refused, read_fields

        options = {name: value for name, value in vars(prompt.options).items() if value is not None}
        options["max_tokens"] = options.pop("length", None)
        served = self._open()
        try:
            answer = Answer(served, read_fields({"prompt": prompt.prompt, **options}, served.name, served.limits))
            batch = Batch(served.model)
            for drawing in answer.drawings:
                batch.add(drawing)
            while not answer.is_finished:
                for part in answer.take(batch.step()):
                    if part["text"]:
                        yield part["text"]
                    if part["finish_reason"]:
                        response.response_json = {"seed": answer.seed, "finish_reason": part["finish_reason"]}
        except Refused as refused:
            raise llm.ModelError(refused.message.replace("max_tokens", "length")) from None
        response.set_usage(input=answer.prompt_characters, output=answer.drawn)

    def _open(self):
        """Return the Served of the run, read once."""
        if self._served is None:
            from charrnn.library import load
            from charrnn.server.answers import Served
            from charrnn.server.protocol import Limits

            most = 10_000_000  # nobody else waits
            limits = Limits(prompt=most, tokens=most, characters=most)
            self._served = Served(load(self.path), self.model_id, 0, limits)
        return self._served
