"""A server that does what its argument says, in plain Python: raw JSON lines, as hostile as they come."""

import json
import os
import subprocess
import sys
import time

MODE = sys.argv[1]
OUT = sys.stdout.buffer
TOOLS = [{"name": "do", "description": "Do it", "inputSchema": {"type": "object", "properties": {}}}]


def send(message):
    OUT.write(json.dumps(message).encode() + b"\n")
    OUT.flush()


def answer(request, result):
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def hang():
    while True:
        time.sleep(60)


def initialize(request):
    if MODE == "crash-at-start":
        print("the secret is", os.environ.get("API_TOKEN", "none"), file=sys.stderr, flush=True)
        sys.exit(7)
    if MODE == "hang-in-initialize":
        hang()
    if MODE == "wants-sign-in":
        print("Please authorize this client by visiting: http://127.0.0.1/", file=sys.stderr, flush=True)
        sys.exit(1)
    if MODE == "endless-line":
        while True:
            OUT.write(b"x" * 1_000_000)
    if MODE == "garbage":
        for n in range(1000):
            OUT.write(b"Starting up %d...\n" % n)
        OUT.write(b"\xff\xfe\x00\n[1, 2\n\"text\"\n[]\nnull\n{}\n{\"jsonrpc\": \"2.0\", \"id\": 999, \"result\": {}}\n")
    if MODE == "grandchild":  # in a session of its own, deaf to SIGTERM, holding all pipes
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        with open(sys.argv[2], "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
    capabilities = {"tools": {"listChanged": True}}
    info = {"name": "hostile", "version": "1"}
    answer(request, {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info})


def tools(request):
    if MODE == "pages":
        page = int(request.get("params", {}).get("cursor", "0"))
        listed = [{"name": f"t{page}", "inputSchema": {"type": "object"}}]
        answer(request, {"tools": listed, **({"nextCursor": str(page + 1)} if page < 2 else {})})
    elif MODE == "endless-pages":
        answer(request, {"tools": TOOLS, "nextCursor": "again"})
    elif MODE == "huge-list":
        answer(request, {"tools": [{**TOOLS[0], "description": "d" * 6_000_000}]})
    elif MODE == "odd-names":
        names = ["do", "do", "a.b", "x" * 70, "y" * 55, "", "tool with spaces"]
        answer(request, {"tools": [{**TOOLS[0], "name": name} for name in names]})
    else:
        answer(request, {"tools": TOOLS})


def call(request):
    text = [{"type": "text", "text": "done"}]
    if MODE == "crash-in-call" or (MODE == "crash-once" and not os.path.exists(sys.argv[2])):
        if MODE == "crash-once":
            open(sys.argv[2], "w").close()
        print("Traceback: it hurts", file=sys.stderr, flush=True)
        os._exit(3)
    if MODE == "hang-in-call":
        hang()
    if MODE == "huge-answer":
        text[0]["text"] = "x" * 10_485_760
    if MODE == "huge-answer-id-last":
        text[0]["text"] = "x" * 10_485_760
        OUT.write(json.dumps({"result": {"content": text}, "jsonrpc": "2.0", "id": request["id"]}).encode() + b"\n")
        OUT.flush()
        return
    if MODE == "flood":
        line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"a flood"}}\n'
        for _ in range(1000):
            OUT.write(line * 1000)
    if MODE == "stderr-flood":
        for _ in range(1000):
            sys.stderr.write("noise " * 1000 + "\n")
    if MODE == "closes-output":
        OUT.flush()
        os.close(1)
        hang()
    if MODE == "requests":
        for n in range(10_000):
            send({"jsonrpc": "2.0", "id": f"r{n}", "method": "sampling/createMessage", "params": {}})
    if MODE == "bad-result":
        send({"jsonrpc": "2.0", "id": request["id"], "result": {"content": "no list"}})
        return
    if MODE == "other-tools":
        TOOLS.append({**TOOLS[0], "name": "more"})
        for _ in range(100):
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    answer(request, {"content": text, "isError": False})


for line in sys.stdin:
    message = json.loads(line)
    match message.get("method"):
        case "initialize":
            initialize(message)
        case "tools/list":
            tools(message)
        case "tools/call":
            call(message)
