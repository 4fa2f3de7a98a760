"""What charrnn's messages advise, read off its sources: which options and commands they name, and which commands of
charrnn can say them.

A message is said by a command where the function that holds it can be reached from the command's own function: by a
name that is used there, in any module. Of a class that is used, all methods count; so no message is missed, and a few
are ascribed to commands that never say them.
"""

import ast
import functools
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import click

from charrnn.cli import COMMANDS, group

ROOT = Path(__file__).parent.parent / "charrnn"
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?![\w-]|\{)")
ADVISED = re.compile(r"charrnn (" + "|".join(COMMANDS) + r")\b((?:[^'\n;)]|(?<=\S)'(?=\w))*)")
IN_TRAINING = re.compile(r"\btrain with (--[a-z][a-z-]*)")  # as much as naming the command
NO_COMMAND = re.compile(r"(?:'|:\n +)charrnn (?!(?:" + "|".join(COMMANDS) + r")\b)([a-z][\w-]*)")
HOLE = "HOLE"
HELP = ["-h", "--help"]  # as the group has them: a command keeps those that it is first asked for
# Python runs this in a child process, by a text.
BY_TEXT = {("sweep.children", "Child"): ("sweep.serve", "serve")}


class Message(NamedTuple):
    """A text of the sources: where it stands, HOLE for each of its values."""

    module: str
    line: int
    text: str


class Advice(NamedTuple):
    """A command that a message advises: its verb and its arguments, as a shell would be given them."""

    verb: str
    arguments: str


def advised_commands(text):
    """Return the Advice of a text, and the text without it."""
    found = [Advice(verb, rest.strip().rstrip(".,:")) for verb, rest in ADVISED.findall(text)]
    text = ADVISED.sub("", text)
    found += [Advice("train", name) for name in IN_TRAINING.findall(text) if name not in options_of("train")]
    return found, IN_TRAINING.sub("", text)


@functools.cache
def options_of(verb):
    """Return the names of the options of a command, of its subcommands too."""
    command = group.get_command(None, verb)
    commands = [command, *getattr(command, "commands", {}).values()]
    named = {name for one in commands for parameter in one.params for name in parameter.opts + parameter.secondary_opts}
    return named | set(HELP)


def parse(advice):
    """Parse an Advice as the command line would; click's UsageError where it does not."""
    command = group.get_command(None, advice.verb)
    arguments = shlex.split(advice.arguments.replace(HOLE, "1"))
    context = click.Context(command, info_name=advice.verb, help_option_names=HELP)
    if isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
        context = click.Context(command, info_name=name, parent=context, help_option_names=HELP)
    parser = command.make_parser(context)
    given, left, _ = parser.parse_args(list(arguments))
    if left:
        raise click.UsageError(f"too many arguments: {left}")
    for parameter in command.params:
        value = given.get(parameter.name)
        if isinstance(parameter.type, click.Choice) and isinstance(value, str) and value != "1":
            parameter.type.convert(value, parameter, context)


class Sources:
    """The modules of a package: what each of their names refers to, and which texts it holds."""

    def __init__(self, root=ROOT):
        self.modules, self.imports, self.nodes, self._used = {}, {}, {}, {}
        trees = trees_of(root)
        self.modules.update(dict.fromkeys(trees))  # known before imports are resolved
        for name, tree in trees.items():
            self.replace(name, tree)

    def replace(self, module, tree):
        """Give a module another tree."""
        self.modules[module], self.imports[module] = tree, self._imports(tree)
        self._used.clear()
        for node in [node for node in self.nodes if node[0] == module]:
            del self.nodes[node]
        for statement in tree.body:
            for name in _defined(statement):  # the statements that define a name at the top level
                self.nodes.setdefault((module, name), []).append(statement)

    def _imports(self, tree):
        """Return {name in a module: (module, name there, None for the module itself)}."""
        found = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "charrnn":
                module = node.module.removeprefix("charrnn").lstrip(".")
                for alias in node.names:
                    inner = f"{module}.{alias.name}".lstrip(".")
                    as_module = inner in self.modules or (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                    found[alias.asname or alias.name] = (inner, None) if as_module else (module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("charrnn."):
                        found[alias.asname or alias.name] = (alias.name.removeprefix("charrnn."), None)
        return found

    def resolve(self, module, name):
        """Return the node that a name of a module stands for, None where it is not ours."""
        for _ in range(5):
            if (module, name) in self.nodes:
                return module, name
            if name not in self.imports.get(module, {}):
                return None
            module, name = self.imports[module][name]
            if name is None:
                return None
        return None

    def uses(self, node):
        """Return the nodes that the statements of a node refer to."""
        if node in self._used:
            return self._used[node]
        module, used = node[0], set()
        for statement in self.nodes[node]:
            for part in ast.walk(statement):
                if isinstance(part, ast.Name):
                    used.add(self.resolve(module, part.id))
                elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                    target = self.imports[module].get(part.value.id)
                    if target is not None and target[1] is None:
                        used.add(self.resolve(target[0], part.attr))
        if node in BY_TEXT:
            used.add(BY_TEXT[node])
        self._used[node] = used - {None}
        return self._used[node]

    def reachable(self, node):
        """Return the nodes that can be reached from one."""
        seen, waiting = {node}, [node]
        while waiting:
            for other in self.uses(waiting.pop()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    def messages(self, node):
        """Return the Messages of a node: its texts but docstrings."""
        return [message for statement in self.nodes[node] for message in messages_of(node[0], statement)]


@functools.cache
def trees_of(root):
    """Return {module: its tree} of a package."""
    trees = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return trees


@functools.cache
def messages_of(module, tree):
    """Return the Messages of a tree of one module."""
    found, skipped = [], set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            skipped.add(id(body[0].value))
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if id(node) in skipped:
            continue
        text = _text(node)
        if text is not None:
            found.append(Message(module, node.lineno, text))
            waiting += [part.value for part in getattr(node, "values", ()) if isinstance(part, ast.FormattedValue)]
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _text(node):
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
    return None


def _defined(statement):
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [part.id for target in targets if target for part in ast.walk(target) if isinstance(part, ast.Name)]
