"""Write the reference of each command into docs/commands/, from what click knows; `make reference` runs it.

A page is written by hand, but for what stands between the two marks. `--check` writes nothing and fails where a page is
stale.
"""

import inspect
import re
import sys
from pathlib import Path

import click

from charrnn.cli import COMMANDS, group
from charrnn.cli.plain_help import plain_record

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "commands"
BEGIN = "<!-- reference: from here on written by `make reference` -->"
END = "<!-- end of the reference -->"


def main(arguments):
    """Write all pages, or with --check name those that are stale; return the exit code."""
    check = arguments == ["--check"]
    stale = []
    for verb in COMMANDS:
        page = FOLDER / f"{verb}.md"
        before = page.read_text(encoding="utf-8")
        after = with_reference(before, verb)
        if after != before:
            stale.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(after, encoding="utf-8")
    if check and stale:
        print(f"stale: {', '.join(stale)}; run: make reference", file=sys.stderr)
        return 1
    return 0


def with_reference(page, verb):
    """Return a page with the reference of its command in the place of the one that it has."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page of {verb} needs the two marks of pages/reference.py, each once")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{reference(verb)}\n{END}{rest.split(END)[1]}"


def reference(verb):
    """Return the reference of a command in Markdown, with those of its subcommands."""
    command = group.get_command(None, verb)
    with click.Context(group, info_name="charrnn") as parent:
        return "\n".join(_lines(command, verb, parent, 2))


def _lines(command, name, parent, level):
    with click.Context(command, info_name=name, parent=parent) as ctx:
        title = "Reference" if level == 2 else f"`{ctx.command_path}`"
        yield from (f"{'#' * level} {title}", "", "```", _usage(ctx), "```", "")
        yield from _description(command)
        for heading, options in _headed(command, ctx):
            if heading:
                yield from (f"{'#' * (level + 1)} {heading}", "")
            for option in options:
                yield _option(option, ctx)
            yield ""
        if isinstance(command, click.Group):
            for inner in command.list_commands(ctx):
                yield from _lines(command.get_command(ctx, inner), inner, ctx, level + 1)


def _usage(ctx):
    # click before 8.5 writes [COMMAND], though one is needed.
    return " ".join(ctx.get_usage().removeprefix("Usage: ").split()).replace("[COMMAND]", "COMMAND")


def _description(command):
    """Yield the paragraphs of the help; those that click does not wrap are shown as they stand."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```", *(line.removeprefix("Example: ").strip() for line in paragraph.splitlines()[1:]), "```")
        else:
            kept = paragraph.split("\n\b\n")
            yield _prose(" ".join(kept[0].split()))
            for verbatim in kept[1:]:
                yield from ("", "```", *inspect.cleandoc(verbatim).splitlines(), "```")
        yield ""


def _headed(command, ctx):
    """Yield (heading, options) in the order of the help, without --help; a command without headings has one group."""
    options = [one for one in command.get_params(ctx) if isinstance(one, click.Option) and "--help" not in one.opts]
    headings = list(dict.fromkeys(getattr(one, "heading", None) for one in options))
    if not options:
        return
    if len(headings) == 1:
        yield ("Options", options)
        return
    from charrnn.cli.options import THE_RUN
    from charrnn.training.model_options import HEADINGS

    known = (*HEADINGS, THE_RUN)
    for heading in (*known, *(one for one in headings if one not in known)):
        here = [one for one in options if getattr(one, "heading", None) == heading]
        if here:
            yield (heading or "Help", sorted(here, key=lambda one: getattr(one, "place", 0)))


def _option(option, ctx):
    hidden, option.hidden = option.hidden, False
    try:
        names, text = plain_record(option.get_help_record(ctx))
    finally:
        option.hidden = hidden
    text, _, extra = text.partition("  [")
    default = extra.rstrip("]").removeprefix("default: ")
    if not default and option.is_flag and not option.multiple:
        default = "off"
    shown = f"- **`{names}`**: {_prose(text)}"
    return f"{shown} *Default: {_prose(default)}.*" if default else shown


def _prose(text):
    """Return text of the help as Markdown: options and quoted commands as code, and nothing else changed."""
    code = re.compile(r"'(charrnn [^']+)'|(?<![\w/-])(--?[a-zA-Z][\w-]*(?:/--?[a-z][\w-]*)*)")
    made, end = [], 0
    for match in code.finditer(text):
        made += [_escaped(text[end : match.start()]), f"`{match[1] or match[2]}`"]
        end = match.end()
    return "".join([*made, _escaped(text[end:])])


def _escaped(text):
    return re.sub(r"([\\`*_\[\]])", r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
