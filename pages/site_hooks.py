"""What mkdocs does not do by itself: folders in the navigation, pages beside docs/, links to sources, whole options."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md")  # pages of the root folder, shown as if they stood in docs/


def on_config(config):
    """Put the pages of a folder where the navigation names it, as in `How-to: howto/`."""
    config.nav = _filled(config.nav, Path(config.docs_dir))
    return config


def on_files(files, config):
    """Add the pages of the root folder; their links to docs/ become links to their neighbours."""
    for name in BESIDE:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Lead links to the pages of the root folder into the site; name a source file without a link."""
    depth = page.file.src_uri.count("/")
    outside = "../" * (depth + 1)

    def replaced(match):
        text, target = match.groups()
        if not target.startswith(outside) or target.startswith(outside + "../"):
            return match[0]
        path, _, anchor = target.removeprefix(outside).partition("#")
        if path in BESIDE:
            return f"[{text}]({'../' * depth}{path}{'#' * bool(anchor)}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs reports it
        return text if text == f"`{path}`" else f"{text} (`{path}`)"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", replaced, markdown)


def on_page_content(html, **_):
    """Keep the options in a sentence in one piece: browsers break a line after any hyphen."""

    def kept(match):
        return re.sub(r"(?<![\w-])--?[a-z][\w-]*", r'<span class="option">\g<0></span>', match[0])

    return re.sub(r"(?<!<span></span>)(?<!<pre>)<code>[^<]*</code>", kept, html)


def _filled(entries, docs):
    made = []
    for entry in entries:
        if isinstance(entry, dict):
            (title, inside), *_ = entry.items()
            if isinstance(inside, list):
                made.append({title: _filled(inside, docs)})
                continue
            if inside.endswith("/"):
                pages = _pages(docs / inside, docs)
                if pages:
                    made.append({title: pages})
                continue
        made.append(entry)
    return made


def _pages(folder, docs):
    """List a folder's pages, index.md first; each folder in it is a section, titled by the heading of its index."""
    pages = sorted(folder.glob("*.md"), key=lambda page: (page.name != "index.md", page.name))
    made = [page.relative_to(docs).as_posix() for page in pages]
    for inner in sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else ():
        if listed := _pages(inner, docs):
            made.append({_title(inner): listed})
    return made


def _title(folder):
    index = folder / "index.md"
    if index.exists() and (heading := re.search(r"^# (.+)$", index.read_text(encoding="utf-8"), re.M)):
        return heading[1]
    return folder.name
