"""Secrets are warned of; files beside the notebook that the code reads are refused."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest

from dnworker_jupyter.export.planning.leaks import redacted
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.builders import handler, plan


@pytest.mark.parametrize(
    "text",
    [
        "'sk-proj-" + "a1" * 15 + "'",
        "f'Bearer ghp_" + "Z" * 36 + "'",
        "'postgres://me:hunter2@db/x'",
        "dict(api_key='correct-horse-battery')",
        "{'password': 'hunter2hunter2'}",
        "'-----BEGIN RSA PRIVATE KEY-----'",
    ],
)
def test_a_secret_in_a_text_is_warned_of_and_never_told(text):
    warnings = plan("x = 1", handler(f"print({text})")).warnings
    (warning,) = [str(w) for w in warnings]
    assert warning.startswith("cell [2], line 4, column ")
    assert "for everybody to read; read it from os.environ" in warning
    assert not {"hunter2", "correct-horse", "a1a1a1", "ZZZZ"} & set(re.findall(r"[\w-]+", warning))


@pytest.mark.parametrize(
    "text",
    [
        "'sk-short'",
        "dict(token='<your token>')",
        "{'password': ''}",
        "'https://example.com/a:b@c'",
        "dict(token_count='12345678901')",
    ],
)
def test_what_is_no_secret_is_not_warned_of(text):
    assert plan("x = 1", handler(f"print({text})")).warnings == ()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("open('data.csv')", "open('data.csv')"),
        ("Path('data.csv').read_text()", "Path('data.csv')"),
        ("pd.read_csv('data.csv')", "read_csv('data.csv')"),
        ("open('data.csv', 'w')", None),
        ("open('other.csv')", None),
        ("open('/etc/hosts')", None),
        ("open(file='data.csv')", "open('data.csv')"),
        ("open(DATA)", "open('data.csv')"),
        ("pd.loadtxt('data.csv')", "loadtxt('data.csv')"),
        ("pd.read_csv(filepath_or_buffer='data.csv')", "read_csv('data.csv')"),
        ("Path('data.csv').open()", "Path('data.csv')"),
        ("Path('data.csv').open('w')", None),
        ("Path('data.csv').write_text('x')", None),
        ("Path('data.csv').unlink()", None),
        ("open(DATA + 'x')", None),
        ("worker.state['archive'].read('data.csv')", None),
        ("worker.state['archive'].open('data.csv')", None),
        ("open('x' * 9000)", None),
    ],
)
def test_a_file_beside_the_notebook_that_is_read_is_refused(body, refused, tmp_path):
    (tmp_path / "data.csv").touch()
    above = "from pathlib import Path\nimport yaml as pd\nDATA = 'data.csv'"
    sources = [Cell(n, dedent(text).strip()) for n, text in enumerate([above, handler(f"print({body})")], 1)]

    def run():
        return plan_export(sources, default_name="demo", beside=tmp_path)

    if refused is None:
        assert run().files
        return
    with pytest.raises(NotExportable) as told:
        run()
    (problem,) = told.value.problems
    assert (problem.name, problem.location.partition(",")[0]) == (refused, "cell [2]")
    assert "is not exported" in problem.why


SECRETS = ("hunter2hunter2", "ghp_" + "Z" * 36, "hunter2")


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        ("API_TOKEN=hunter2hunter2", "a secret, to judge by the name 'API_TOKEN'"),
        ("DB_PASSWORD=hunter2", "a secret, to judge by the name 'DB_PASSWORD'"),
        ("KEY=hunter2", "a secret, to judge by the name 'KEY'"),
        ("'AUTHORIZATION=Bearer hunter2hunter2'", "a secret, to judge by the name 'AUTHORIZATION'"),
        ("API_KEY=${API_KEY:-hunter2hunter2}", "a secret, to judge by the name 'API_KEY'"),
        ("URL=postgres://me:hunter2@db/x", "a password in an address"),
        ("X=ghp_" + "Z" * 36, "a GitHub token"),
    ],
)
def test_a_variable_with_a_secret_in_it_is_warned_of_with_the_reference_as_the_remedy(pair, kind):
    (warning,) = plan(f"%%worker bridge --env {pair} --shared\nx = 1", handler("print(1)")).warnings
    name = pair.strip("'").partition("=")[0]
    assert str(warning) == (
        f"cell [1]: variable {name!r} of worker 'bridge': looks like {kind}, and would be in capability.yaml for "
        f"everybody to read; write {name}=${{{name}}}, and set {name} in the runtime's environment"
    )
    assert not any(secret in str(warning) for secret in SECRETS)


@pytest.mark.parametrize(
    "pair",
    [
        *(
            "TOKEN=${TOKEN}",
            "TOKEN=${TOKEN:-}",
            "'AUTHORIZATION=Bearer ${TOKEN}'",
            "TOKEN=changeme",
            "LOG_LEVEL=debug",
        ),
        *(
            "TOKEN_FILE=/run/secrets/token",
            "PRIVATE_KEY=/run/key.pem",
            "TOKEN_LIMIT=4096",
            "PASSWORD=",
            "N=12345678901",
        ),
        *("USE_TOKEN=false", "MAX_TOKENS=100000"),
    ],
)
def test_a_variable_without_a_secret_is_not_warned_of(pair):
    assert plan(f"%%worker bridge --env {pair} --shared\nx = 1", handler("print(1)")).warnings == ()


def test_variables_of_handles_and_programs_and_the_words_of_commands_are_warned_of_too():
    token = "ghp_" + "Z" * 36
    warnings = plan(
        "w = dn.worker('one', env={'TOKEN': 'hunter2hunter2'})\n@w.on_event('a')\nasync def f(e, c): pass",
        f"%%worker two --command 'node {{file}} --token {token}' --env PASSWORD=hunter2\nconsole.log(1)",
    ).warnings
    assert [str(w).partition(": looks")[0] for w in warnings] == [
        "cell [1]: variable 'TOKEN' of worker 'one'",
        "cell [2]: variable 'PASSWORD' of worker 'two'",
        "cell [2]: the command of worker 'two'",
    ]
    assert not any(secret in str(w) for secret in SECRETS for w in warnings)


def test_literals_in_the_head_are_warned_of_where_its_cell_is():
    head = (
        "%%capability\nname: demo\nversion: 0.1.0\ndescription: d\nsecrets: [{name: TOKEN}]\n"
        "mcp: {servers: {s: {url: 'https://x', headers: {Authorization: Bearer hunter2hunter2, X: '${TOKEN}'}}}}\n"
    )
    (warning,) = plan(head, handler("print(1)")).warnings
    assert str(warning).startswith(
        "cell [1]: mcp.servers.s.headers.Authorization of the manifest: looks like a secret"
    )
    assert "write ${AUTHORIZATION} instead" in str(warning)
    assert "hunter2" not in str(warning)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a." * 60_000, "eyJ-" * 30_000, "http://a:" * 10_000, "a" * 100_000])
def test_a_long_text_is_searched_in_no_time(text):
    assert redacted(text) == text
    assert plan(f"%%worker bridge --env X={text} --shared\nx = 1", handler("print(1)")).warnings == ()
