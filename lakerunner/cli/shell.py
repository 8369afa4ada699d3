"""`lakerunner shell`: one question after another, with history and completion."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.cli.options import Connection, LimitRows, Shown
from lakerunner.cli.output import Output, described, write
from lakerunner.cli.screen import answers, errors, messages
from lakerunner.errors import ConfigurationError, LakerunnerError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prompt_toolkit import PromptSession

    from lakerunner.lake import Lake
    from lakerunner.query import Result

HELP = """\
A statement of SQL ends with a semicolon and may take several lines. What begins with a dot is a
command of the shell, on one line:

  .tables              the tables, with what lies in them
  .describe TABLE      the columns of a table
  .services            the services that sent something
  .metrics             the metrics
  .values COLUMN       the distinct values of a column
  .promql EXPRESSION   evaluate PromQL now
  .trace ID            show a trace
  .explain SQL         say what a query would read, and why
  .read FILE           answer the statements of a file
  .output FORM         how answers are shown: table, csv, json, jsonl, markdown
  .rows NUMBER         rows of a table that are shown
  .help                this text
  .quit                leave; so does Ctrl-D

Ctrl-C ends a query that is running, and forgets what is typed. Up and down go through what was
asked, Tab completes tables, columns and words."""

_WORDS = (
    "SELECT FROM WHERE GROUP BY ORDER LIMIT AS AND OR NOT IN LIKE ILIKE IS NULL BETWEEN DISTINCT"
    " HAVING JOIN ON WITH DESC ASC CASE WHEN THEN ELSE END count sum min max avg now interval"
    " date_bin date_trunc approx_percentile_cont search"
)


class Statement(NamedTuple):
    """Something to be answered.

    Attributes:
        text: SQL, or a command of the shell that begins with a dot.
        whole: Whether its end was seen.
    """

    text: str
    whole: bool


def statements(text: str) -> "Iterator[Statement]":
    r"""Take text apart at the semicolons that stand in no literal, name or comment.

    Example:
        >>> [one.text for one in statements("SELECT ';' -- a; b\n; .tables\nSELECT 2")]
        ["SELECT ';' -- a; b", '.tables', 'SELECT 2']
    """
    begin, position, closing = 0, 0, ""
    while position < len(text):
        rest = text[begin:position].strip()
        if not rest and not closing and text[position] == ".":
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            yield Statement(text[position:end].strip().rstrip(";"), whole=True)
            begin = position = end
            continue
        if closing:
            if text.startswith(closing, position):
                position += len(closing) - 1
                closing = ""
        elif text[position] == ";":
            if rest:
                yield Statement(rest, whole=True)
            begin = position + 1
        else:
            closing = next((end for start, end in _QUOTES if text.startswith(start, position)), "")
        position += 1
    if text[begin:].strip():
        yield Statement(text[begin:].strip(), whole=False)


_QUOTES = (("'", "'"), ('"', '"'), ("--", "\n"), ("/*", "*/"))


def shell(connection: Connection, *, shown: Shown, limit_rows: LimitRows = 40) -> None:
    """Ask a lake one question after another, with history and completion.

    SQL ends with a semicolon; `.help` says what else there is. Where stdin is no terminal, its
    statements are answered one after the other, and the first that fails ends it.
    """
    with connection.open() as opened:
        answering = Shell(opened, shown, limit_rows)
        if sys.stdin.isatty():
            converse(answering, _session(answering))
        else:
            for statement in statements(sys.stdin.read()):
                answering.answer(statement.text)
                if answering.ended:
                    break


class Shell:
    """Answers statements over one lake; used by one thread.

    Args:
        lake: What is asked.
        shown: How answers are written.
        limit: Rows of a table that are shown.
    """

    def __init__(self, lake: "Lake", shown: Shown, limit: int) -> None:
        self.lake = lake
        self.ended = False
        self._output, self._file, self._limit = shown.output, shown.file, limit
        self._commands: dict[str, Callable[[str], None]] = {
            "tables": lambda _: self._show(lake.tables()),
            "describe": lambda table: self._show(lake.describe(table)),
            "services": lambda _: self._show(lake.services()),
            "metrics": lambda _: self._show(lake.metrics()),
            "values": lambda column: self._show(lake.values(column)),
            "promql": lambda text: self._show(lake.promql(text)),
            "trace": lambda name: answers().print(repr(lake.trace(name)), markup=False),
            "explain": lambda text: answers().print(str(lake.explain(text)), markup=False),
            "read": self._read,
            "output": self._set_output,
            "rows": self._set_rows,
            "help": lambda _: answers().print(HELP, markup=False),
            "quit": self._quit,
            "exit": self._quit,
        }

    @property
    def commands(self) -> list[str]:
        """Commands that begin with a dot."""
        return [f".{name}" for name in self._commands]

    def answer(self, text: str) -> None:
        """Answer SQL, or do what a command says.

        Raises:
            LakerunnerError: It cannot be answered.
        """
        if not text.startswith("."):
            self._show(self.lake.sql(text))
            return
        name, _, rest = text[1:].partition(" ")
        if name not in self._commands:
            hint = did_you_mean(f".{name}", self.commands)
            raise ConfigurationError(f"no command '.{name}'{hint}")
        self._commands[name](rest.strip().rstrip(";"))

    def words(self) -> list[str]:
        """What can be completed: tables, their columns, words of SQL."""
        names: dict[str, None] = {}
        for table in self.lake.tables().to_arrow()["table"].to_pylist():
            names[table] = None
            names.update(dict.fromkeys(self.lake.describe(table).to_arrow()["column"].to_pylist()))
        return [*names, *_WORDS.split(), *self.commands]

    def _show(self, found: "Result") -> None:
        begun = time.perf_counter()
        write(found, found.schema, self._output, self._file, self._limit)
        took = described(found.stats)
        if not found.stats.seconds:
            took = f"{time.perf_counter() - begun:.2f} s"
        messages().print(took, style="dim")

    def _read(self, name: str) -> None:
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f".read: {name}: {error}") from error
        for statement in statements(text):
            self.answer(statement.text)

    def _set_output(self, name: str) -> None:
        forms = [str(one) for one in Output]
        if name not in forms:
            raise ConfigurationError(f".output: no form {name!r}{did_you_mean(name, forms)}")
        self._output = Output(name)

    def _set_rows(self, number: str) -> None:
        if not number.isdecimal() or number == "0":
            raise ConfigurationError(".rows takes a number, at least 1")
        self._limit = int(number)

    def _quit(self, _: str) -> None:
        self.ended = True


def converse(shell: Shell, session: "PromptSession[str]") -> None:
    """Ask for statements and answer them until there are no more; what fails is said."""
    messages().print("SQL ends with ; and .help says what else there is", style="dim")
    pending = ""
    while not shell.ended:
        try:
            line = session.prompt("   ...> " if pending else "lake> ")
        except KeyboardInterrupt:
            pending = ""
            continue
        except EOFError:
            break
        pending = f"{pending}\n{line}" if pending else line
        found = list(statements(pending))
        pending = "" if all(one.whole for one in found) else found[-1].text
        answer_each(shell, (one.text for one in found if one.whole))


def answer_each(shell: Shell, texts: "Iterable[str]") -> None:
    """Answer statements until one fails; a failure is said, and ends nothing else."""
    for text in texts:
        try:
            shell.answer(text)
        except LakerunnerError as error:
            errors().print(f"error: {error} ({error.code})", markup=False, style="red")
            return
        except KeyboardInterrupt:
            errors().print("interrupted")
            return
        if shell.ended:
            return


def history_file() -> Path:
    """Where what was asked is kept: `LAKERUNNER_HISTORY`, else the user's state directory."""
    named = os.environ.get("LAKERUNNER_HISTORY")
    if named:
        return Path(named).expanduser()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "lakerunner" / "history"


def _session(shell: Shell, **terminal: Any) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import ThreadedCompleter, WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.sql import SqlLexer

    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # literals may be private
        history: Any = FileHistory(str(path))
    except OSError:  # a shell without a memory is better than none
        history = InMemoryHistory()
    words = _Once(shell.words)
    completer = ThreadedCompleter(WordCompleter(words, ignore_case=True, WORD=True))
    return PromptSession(
        history=history, completer=completer, lexer=PygmentsLexer(SqlLexer), **terminal
    )


class _Once:
    """A list that is made when it is first needed: it takes some queries."""

    def __init__(self, make: "Callable[[], list[str]]") -> None:
        self._make = make
        self._made: list[str] | None = None

    def __call__(self) -> list[str]:
        if self._made is None:
            self._made = self._make()
        return self._made
