"""Settings: the command line wins over the environment, that over the file; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker import UsageError
from dnworker.cli.config_options import level_of
from dnworker.cli.main import main, make_parser
from dnworker.cli.serve import own_parser
from dnworker.cli.settings.resolving import Resolved, resolve, take_variables
from dnworker.cli.settings.setting import settings_of
from dnworker.cli.settings.writing import to_toml

SETTINGS = settings_of(own_parser())


def read(tmp_path: Path, text: str, environ=None, **given_options) -> Resolved:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    return resolve(SETTINGS, {"config": file, **given_options}, environ or {})


def values(resolved: Resolved) -> dict:
    return {key: one.value for key, one in resolved.values.items()}


def test_every_option_of_serve_is_a_key_and_has_a_variable_of_its_own():
    variables = [one.variable for one in SETTINGS.values()]
    assert len({*variables}) == len(variables) > 30
    assert {"capabilities", "port", "from", "log-format", "token-file"} <= SETTINGS.keys()
    assert SETTINGS["locals"].variable == "DNWORKER_SERVE_LOCALS"  # the other is of worker processes


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path):
    text = 'port = 1\nhost = "a"\nnode = "x"\n'
    found = read(tmp_path, text, {"DNWORKER_PORT": "2", "DNWORKER_HOST": "b"}, port=3)
    shown = [(found.values[key].value, found.values[key].source) for key in ("port", "host", "node", "watch")]
    assert shown == [(3, "--port"), ("b", "DNWORKER_HOST"), ("x", "serve.toml:3"), (False, "default")]


def test_a_parser_notes_what_the_command_line_says_itself_also_where_that_is_the_default():
    options = make_parser().parse_args(["serve", "--port", "8787", "--flag", "a.b=on"])
    assert options.given == {"port": 8787, "flag": ["a.b=on"]}
    assert (options.host, options.path, options.label) == ("127.0.0.1", [], [])


def test_paths_are_relative_to_the_directory_of_the_file(tmp_path):
    found = values(read(tmp_path, 'capabilities = ["demo"]\ntoken-file = "/etc/t"\ndurable = true\n'))
    assert found["capabilities"] == [tmp_path / "demo"]
    assert (found["token-file"], found["durable"]) == (Path("/etc/t"), SETTINGS["durable"].const)


def test_tables_say_what_options_with_names_and_values_say(tmp_path):
    text = 'require = {"a:b" = ["gpu", "big"]}\nreplicas = ["a:b=3"]\n[flag]\ndemo.loud = true\n[limit]\nqueue = 5\n'
    found = values(read(tmp_path, text))
    assert (found["require"], found["replicas"]) == (["a:b=gpu,big"], ["a:b=3"])
    assert (found["flag"], found["limit"]) == (["demo.loud=on"], ["queue=5"])


def test_variables_have_lists_separated_by_blanks_and_paths_as_in_path():
    environ = {
        "DNWORKER_RETRY": "a:b=3,backoff=1s a:c=2",
        "DNWORKER_CAPABILITIES": "x:/y",
        "DNWORKER_WATCH": "Yes",
    }
    found = values(resolve(SETTINGS, {}, environ))
    assert found["retry"] == ["a:b=3,backoff=1s", "a:c=2"]
    assert (found["capabilities"], found["watch"]) == ([Path("x"), Path("/y")], True)


def test_an_empty_variable_counts_as_none_and_one_of_kubernetes_is_named(tmp_path):
    found = read(tmp_path, "", {"DNWORKER_HOST": "", "DNWORKER_PORT": "tcp://10.0.0.1:8787"})
    assert not [one for one in found.values.values() if one.is_changed]
    assert "enableServiceLinks" in found.notes[0]


def test_settings_do_not_reach_worker_processes_and_other_variables_do():
    environ = {"DNWORKER_PORT": "1", "DNWORKER_CONFIG": "f", "DNWORKER_LOCALS": "0", "HOME": "/"}
    assert take_variables(SETTINGS, environ) == {"DNWORKER_PORT": "1", "DNWORKER_CONFIG": "f"}
    assert environ == {"DNWORKER_LOCALS": "0", "HOME": "/"}


def test_what_a_shell_would_expand_is_noted_and_taken_as_it_is_written(tmp_path):
    found = read(tmp_path, 'node = "${HOST}"\ntoken-file = "~/t"\n')
    assert [note.partition(" is not")[0] for note in found.notes] == [
        "serve.toml:1: node: ${HOST}",
        "serve.toml:2: token-file: ~",
    ]


@pytest.mark.parametrize(
    ("environ", "given_options", "level"),
    [
        ({}, {}, "warning"),
        ({}, {"verbose": True}, "info"),
        ({"DNWORKER_LOG_LEVEL": "error"}, {"verbose": True}, "info"),
        ({"DNWORKER_VERBOSE": "1"}, {"log_level": "debug"}, "debug"),
    ],
)
def test_verbose_is_the_level_info_unless_a_nearer_source_says_another(environ, given_options, level):
    assert level_of(resolve(SETTINGS, given_options, environ).values) == level


WRONG = [
    ("prot = 1", "serve.toml:1: prot is no key; did you mean port?"),
    ("\n\nToken_File = 'x'", "serve.toml:3: Token_File is no key; did you mean token-file?"),
    ("token = 'x'", "no secret belongs into this file"),
    ("json = true", "json makes no sense in a file"),
    ("path = ['x']", "did you mean capabilities?"),
    ("port = '1'", "serve.toml:1: port: it is text, and a whole number is wanted"),
    ("port = 1.0", "a whole number is wanted"),
    ("port = true", "a whole number is wanted"),
    ("port = inf", "a whole number is wanted"),
    ("port = 2020-01-01", "it is a date or time"),
    ("port = [1]", "it is a list"),
    ("[port]\na = 1", "it is a table"),
    ("port = 1\nport = 2", "serve.toml:2:9: this is no TOML: cannot overwrite a value"),
    ("[limit]\n[limit]", "stands there once"),
    ("capabilities = 'x'", 'a list is wanted, such as ["x"]'),
    ("restart = false", "text is wanted: no, on-failure"),
    ("restart = 'never'", "'never' is none of no, on-failure"),
    ("stream-replicas = 2", "'2' is none of 1, 3"),
    ("host = 'a\\u0000'\nnode = \"\\u0000\"", "serve.toml:2: node: it has a NUL"),
    ("[limit]\nlog = nan", "serve.toml:1: limit: 'log' is a number, and text or a finite number"),
    ("[flag]\n'a=b' = true", "a name has no ="),
    ("port =", "serve.toml:1:7: this is no TOML: invalid value"),
    ("x = " + "[" * 5000, "nested too deep"),
    (".".join("a" * 60) + " = 1", "nested too deep"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_mistake_in_the_file_is_one_line_with_its_place(tmp_path, text, said):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code in {"DN920", "DN921", "DN922"}


@pytest.mark.parametrize(
    ("data", "mode", "said"),
    [
        (b"\0" * 10_000_000, 0o644, "larger than 100,000 bytes"),
        (b"\xff\xfep\0", 0o644, "UTF-16"),
        (b"port = 1", 0o646, "everybody may write it"),
    ],
)
def test_a_file_that_cannot_be_taken_says_why(tmp_path, data, mode, said):
    file = tmp_path / "serve.toml"
    file.write_bytes(data)
    file.chmod(mode)
    with pytest.raises(UsageError, match=said):
        resolve(SETTINGS, {"config": file}, {})


def test_a_byte_order_mark_and_an_empty_file_are_taken(tmp_path):
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfport = 1\r\n")
    assert values(resolve(SETTINGS, {"config": tmp_path / "bom.toml"}, {}))["port"] == 1
    assert not [one for one in read(tmp_path, "").values.values() if one.is_changed]


@pytest.mark.parametrize("name", ["PORT", "WATCH", "RESTART"])
def test_a_variable_with_a_wrong_value_is_named(name):
    with pytest.raises(UsageError, match=f"DNWORKER_{name}: 'x y'"):
        resolve(SETTINGS, {}, {f"DNWORKER_{name}": "x y"})


def test_config_is_a_check_that_names_where_a_wrong_option_is_from(tmp_path, capsys, monkeypatch):
    (tmp_path / "serve.toml").write_text("\n[limit]\nqueu = 5\n")
    assert main(["config", "--config", str(tmp_path / "serve.toml")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dnworker: serve.toml:2: --limit 'queu=5'")
    assert error.count("\n") == 1


def test_config_never_shows_a_password(tmp_path, capsys):
    broker = "nats://me:hunter2@h:1,nats://me:hunter2@k"
    for how in ([], ["--json"], ["--toml"]):
        assert main(["config", "--broker", broker, "--namespace", "n", *how]) == 0
    out, err = capsys.readouterr()
    assert "nats://h:1,nats://k" in out
    assert "nats://***@h:1,nats://***@k" in out
    assert "hunter" not in out + err
    assert main(["config", "--broker", "nats://me:hunter2@h,tls://you:hunter3@k", "--namespace", "n"]) == 1
    assert "hunter" not in "".join(capsys.readouterr())


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def _of(setting):
    """Return a strategy for the values of a setting."""
    if setting.shape == "flag":
        return st.booleans()
    one = _text.filter(lambda text: "://" not in text)
    if setting.dest == "mcp":
        one = st.integers(0, 65_535)
    elif setting.choices:
        one = st.sampled_from(setting.choices)
    elif setting.type is int:
        one = st.integers()
    elif setting.type is float:
        one = st.floats(allow_nan=False, allow_infinity=False)
    elif setting.is_path:
        one = _text.map(lambda text: Path("/", text.lstrip("/"))).filter(lambda path: ".." not in path.parts)
    if setting.shape == "one":
        return one
    return st.lists(
        st.one_of(one, st.tuples(_text, _text).map("=".join)) if setting.shape == "table" else one
    )


@given(st.fixed_dictionaries({}, optional={one.dest: _of(one) for one in SETTINGS.values()}))
def test_the_file_that_config_prints_gives_the_same_configuration(tmp_path_factory, options):
    before = resolve(SETTINGS, options, {})
    file = tmp_path_factory.mktemp("made") / "serve.toml"
    file.write_bytes(to_toml(before).encode())
    assert values(resolve(SETTINGS, {"config": file}, {})) == values(before)
