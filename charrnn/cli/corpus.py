"""charrnn corpus: the named corpora, what they are and how to have them.

Results go to stdout, a line each; what is being fetched and how a text was cleaned goes to stderr.
"""

from pathlib import Path

import click

from charrnn.cli.plain_help import PlainCommand


@click.group(name="corpus")
def command():
    """List and build texts to train on.

    \b
    Example: charrnn corpus build shakespeare
    """


@command.command(name="list", cls=PlainCommand)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
def list_recipes(as_json):
    """List the recipes: source, licence and cleaning.

    \b
    Example: charrnn corpus list
    """
    import json

    from charrnn.cli.words import note, tell
    from charrnn.recipes import RECIPES

    for recipe in RECIPES.values():
        if as_json:
            click.echo(
                json.dumps(
                    {
                        "name": recipe.name,
                        "summary": recipe.summary,
                        "source": recipe.source,
                        "licence": recipe.licence,
                        "cleaning": recipe.cleaning,
                        "sha256": recipe.sha256,
                        "size_bytes": recipe.size_bytes,
                    }
                )
            )
            continue
        size = f", {recipe.size_bytes:,} bytes" if recipe.size_bytes else ""
        tell(f"{recipe.name}: {recipe.summary}{size}", 4)
        tell(
            f"    source    {recipe.source}\n"
            f"    licence   {recipe.licence}\n"
            f"    cleaning  {recipe.cleaning}\n"
            f"    sha256    {recipe.sha256 or 'depends on the source; shown after the build'}",
            14,
        )
    if not as_json:
        note("build one with: charrnn corpus build NAME")


@command.command(cls=PlainCommand)
@click.argument("name", metavar="NAME")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Read the source from this folder, archive or wheel instead of downloading it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="corpora/NAME.txt, .csv or .tsv",
    help="File to write.",
)
@click.option(
    "--limit-bytes",
    type=int,
    metavar="N",
    help="Use whole files up to a total of N bytes (only for the recipe linux).  [default: 6206996]",
)
@click.option("--force", is_flag=True, help="Replace the output file if it has other content.")
@click.option("--json", "as_json", is_flag=True, help="Write the result as one JSON object.")
def build(name, source, output, limit_bytes, force, as_json):
    """Build a corpus and write it into corpora/.

    \b
    Example: charrnn corpus build shakespeare
    """
    import json
    import sys

    from charrnn.cli.outputs import Outputs
    from charrnn.cli.progress import progress_bar
    from charrnn.cli.words import bars_hidden, neutralise, tell, wrapped
    from charrnn.recipes import FOLDER, RECIPES, build_recipe

    # What else is there is compared with the text, and only --force replaces it: `build_recipe` sees to that.
    named = output or (RECIPES[name].path if name in RECIPES else FOLDER / f"{name}.txt")
    outputs = Outputs({"output": named, "force": True}, "output", makes_folders=True)
    outputs.protect(source)

    def say(line):
        with bars_hidden():
            click.echo(wrapped(neutralise(line), sys.stderr, 4), err=True)

    with progress_bar(in_bytes=True) as progress:
        built = build_recipe(
            name,
            outputs.path("output"),
            source=source,
            limit_bytes=limit_bytes,
            force=force,
            say=say,
            progress=progress,
        )
    recipe = RECIPES[name]
    say(f"source: {source or recipe.source}\nlicence: {recipe.licence}\ncleaning: {recipe.cleaning}")
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": str(named),
                    "status": built.status,
                    "size_bytes": built.size_bytes,
                    "distinct": built.distinct,
                    "sha256": built.sha256,
                }
            )
        )
        return
    already = " (already there)" if built.status == "unchanged" else ""
    tell(
        f"{neutralise(str(named))}{already}: {built.size_bytes:,} bytes, {built.distinct:,} distinct characters, "
        f"sha256 {built.sha256}"
    )
