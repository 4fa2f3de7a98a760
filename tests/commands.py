"""A command line of charrnn, run in this process, for tests."""

from click.testing import CliRunner

from charrnn.cli import group


def charrnn(line, **more):
    """Run `charrnn LINE`, which must succeed; return click's Result."""
    done = CliRunner().invoke(group, line.split(), prog_name="charrnn", catch_exceptions=False, **more)
    assert done.exit_code == 0, done.output
    return done


def refused(kind, line, said):
    """Run `charrnn LINE`, which must end in an error of this kind that says so."""
    done = CliRunner().invoke(group, line.split(), prog_name="charrnn")
    assert isinstance(done.exception, kind), done.output
    assert said in str(done.exception)
