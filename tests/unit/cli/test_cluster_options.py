"""`serve --broker ...`: every mistake in the options is one line, and no line has the password."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from dnworker.cli.main import main

SECRET = "s3cr3t-w0rd"
JOINED = ["--broker", "nats://127.0.0.1:1", "--namespace", "prod"]

MISTAKES = {
    "kafka://host": "--broker kafka://: no broker of this kind is known; nats:// and tls:// (NATS with JetStream) are known",
    "natss://host": "--broker natss://: no broker of this kind is known; did you mean nats://?",
    "10.0.0.5:4222": "--broker: an address begins with nats:// or tls://, such as nats://10.0.0.5:4222",
    "": "--broker: an address begins with nats:// or tls://, such as nats://localhost",
    f"user:{SECRET}@host": "--broker: an address begins with nats:// or tls://, such as nats://localhost",
    "nats://": "--broker: an address names no host; nats://HOST:PORT is wanted, several separated by commas",
    "nats://host:port": "--broker: 'host:port' has no port between 1 and 65535; nats://HOST:PORT is wanted, several separated by commas",
    "nats://host:0": "--broker: 'host:0' has no port between 1 and 65535; nats://HOST:PORT is wanted, several separated by commas",
    "nats://host:70000": "--broker: 'host:70000' has no port between 1 and 65535; nats://HOST:PORT is wanted, several separated by commas",
    "nats://host/events": "--broker: 'host/events' has a path, question mark or space; nats://HOST:PORT is wanted, several separated by commas",
    "nats://a,tls://b": "--broker: the servers are given as nats:// and tls:// at once; take one of both",
    f"nats://u:{SECRET}@a,nats://u:other@b": "--broker: the servers have different passwords; all nodes sign in as one user",
    f"nats://u:{SECRET},x@host": "--broker: an address has no port between 1 and 65535; nats://HOST:PORT is wanted, several separated by commas"
    "; in a password, write other characters than letters and digits as %XX",
    f"nats://u:a,{SECRET}@host": "--broker: an address has no port between 1 and 65535; nats://HOST:PORT is wanted, several separated by commas"
    "; in a password, write other characters than letters and digits as %XX",
    f"nats://u:1,{SECRET}@host": "--broker: user and password stand before the first host; in a password, write other characters than letters and digits as %XX",
    f"nats://u:x@{SECRET}@host": "--broker: there is more than one @; nats://HOST:PORT is wanted, several separated by commas"
    "; in a password, write other characters than letters and digits as %XX",
    f"{SECRET}://host": "--broker this scheme: no broker of this kind is known; nats:// and tls:// (NATS with JetStream) are known",
}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line with which `serve` refuses arguments."""
    assert main(["serve", "--port", "0", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    text, code = re.fullmatch(r"dnworker: (.*) \((DN[78]\d\d)\)\n", said.err).groups()
    assert code is not None
    return text


@pytest.mark.parametrize("url", MISTAKES)
def test_an_address_that_is_none_is_refused_with_the_way_out(url, capsys):
    said = refusal(capsys, "--broker", url, "--namespace", "prod")
    assert said == MISTAKES[url]
    assert SECRET not in said


@pytest.mark.parametrize("namespace", ["", "two words", "a.b", "*", "-x", "a" * 49, "Prod", "ä"])
def test_a_namespace_that_no_stream_can_have_is_refused(namespace, capsys):
    said = refusal(capsys, "--broker", "nats://127.0.0.1:1", f"--namespace={namespace}")
    assert said.startswith(f"--namespace {namespace!r}: lower-case letters, digits, - and _ are wanted")


def test_a_broker_without_a_namespace_is_refused(capsys):
    said = refusal(capsys, "--broker", "nats://127.0.0.1:1")
    assert said == "--broker: name what the nodes have in common, such as --namespace prod"


@pytest.mark.parametrize(
    "option",
    [
        "--namespace=x",
        "--creds=f",
        "--node=a",
        "--label=gpu",
        "--require=a:b=c",
        "--stream-replicas=1",
        "--broker-ca=f",
    ],
)
def test_an_option_for_several_nodes_wants_a_broker(option, capsys):
    name = option.partition("=")[0]
    assert refusal(capsys, option) == (
        f"{name} is for several nodes; name the servers that they share: --broker nats://HOST"
    )


def test_a_file_of_events_and_shared_servers_exclude_each_other(capsys, tmp_path):
    said = refusal(capsys, *JOINED, "--durable", str(tmp_path / "events.db"))
    assert said.endswith("leave out one of both")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--node", "a b"],
            "--node is 'a b'; letters, digits and -_. are wanted, 100 at most",
        ),
        (
            ["--label", ""],
            "--label is ''; letters, digits and -_. are wanted, 100 at most",
        ),
        (
            ["--require", "bridge=gpu"],
            "--require 'bridge=gpu': CAP:WORKER=LABEL[,LABEL] is wanted, such as demo:bridge=gpu",
        ),
        (
            ["--require", "demo:bridge"],
            "--require 'demo:bridge': CAP:WORKER=LABEL[,LABEL] is wanted, such as demo:bridge=gpu",
        ),
        (
            ["--require", "demo:bridge=gpu,"],
            "a label of --require demo:bridge is ''; letters, digits and -_. are wanted, 100 at most",
        ),
    ],
)
def test_names_that_are_none_are_refused(arguments, said, capsys):
    assert refusal(capsys, *JOINED, *arguments) == said


def test_a_file_of_credentials_that_is_none_is_refused_without_its_text(capsys, tmp_path):
    file = tmp_path / "node.creds"
    assert refusal(capsys, *JOINED, "--creds", str(file)) == f"--creds {file}: no such file or directory"
    file.write_text(SECRET)
    said = refusal(capsys, *JOINED, "--creds", str(file))
    assert said == f"--creds {file}: neither a .creds file nor the seed of an nkey, which begins with SU"


def test_credentials_given_twice_are_refused(capsys, tmp_path):
    file = tmp_path / "node.creds"
    file.write_text("SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY")
    said = refusal(
        capsys, "--broker", f"nats://u:{SECRET}@127.0.0.1:1", "--namespace", "prod", "--creds", str(file)
    )
    assert said.endswith("there are a user or a token, too, in the address or the environment; leave out one")


def test_certificates_that_are_none_are_refused(capsys, tmp_path):
    file = tmp_path / "ca.pem"
    assert (
        refusal(capsys, *JOINED, "--broker-ca", str(file)) == f"--broker-ca {file}: no such file or directory"
    )
    file.write_text("no certificate")
    assert refusal(capsys, *JOINED, "--broker-ca", str(file)).startswith(
        f"--broker-ca {file}: a certificate in PEM is wanted"
    )
    assert refusal(capsys, *JOINED, "--broker-cert", str(file)).startswith(
        f"--broker-cert {file}: a certificate and its key"
    )
    said = refusal(capsys, *JOINED, "--broker-key", str(file))
    assert said == f"--broker-key {file}: a key is of a certificate; give --broker-cert, too"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the list of processes is written over by Linux's /proc alone"
)
def test_the_list_of_processes_does_not_show_a_password():
    program = (
        "import sys; from pathlib import Path; from dnworker.cli.process_title import hide_arguments; "
        f"assert hide_arguments(['user:{SECRET}']); "
        "print(sys.argv, Path('/proc/self/cmdline').read_text())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program.replace(SECRET, "s3cr3t-' 'w0rd"), "--broker", f"nats://user:{SECRET}@host"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert SECRET not in done.stdout
    assert "nats://****************@host" in done.stdout
