"""What handlers write, by whatever way: it is theirs, whole, in lines, and in no cell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .session import KernelSession

pytestmark = pytest.mark.kernel


SHOW = "print(*[l.text for l in trace.invocations[0].logs if l.source != 'runtime'], sep='\\n')"


def fired(kernel, body: str, *, before: str = "", then: str = "") -> tuple[list[str], object]:
    """Return the lines of a handler with this body, and what the cell that fires it answers."""
    kernel.run(
        "%%worker w\n" + before + "\n@worker.on_event('a')\nasync def h(event, client):\n"
        + "".join(f"    {line}\n" for line in body.splitlines())
    )  # fmt: skip
    reply = kernel.run(f"trace = await dn.fire('a')\n{then}")
    assert reply.status == "ok", reply
    return kernel.run(SHOW).text.splitlines(), reply


@pytest.fixture(scope="module")
def watching_kernel(tmp_path_factory):
    """A kernel that reads the descriptors 1 and 2 into its cells, as kernels do outside of pytest."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("watching")
        patch.chdir(directory)
        patch.setenv("HOME", str(directory))
        patch.delenv("PYTEST_CURRENT_TEST")
        session = KernelSession(sys.executable)
        assert session.run("%load_ext dnworker").status == "ok"
        yield session
        session.close()


LATE = """
import asyncio, threading
def pieces(name, ended):
    ended.wait()
    for n in range(50): print(name, n)
async def task(ended, loop):
    await ended.wait()
    print("task", 1)
    loop.call_later(0.01, print, "later", 2)
"""


def test_what_outlives_its_handler_prints_whole_lines(kernel):
    kernel.run(
        f"%%worker w\n{LATE}\nended = threading.Event()\ngone = asyncio.Event()\n"
        "@worker.on_event('a')\nasync def h(event, client):\n"
        "    threads = worker.state['threads'] = [threading.Thread(target=pieces, args=(f't{n}', ended)) for n in range(4)]\n"
        "    for thread in threads: thread.start()\n"
        "    worker.state['task'] = asyncio.create_task(task(gone, asyncio.get_running_loop()))\n"
    )
    kernel.run("await dn.fire('a')")
    kernel.run(
        "ended.set(); gone.set()\nawait asyncio.to_thread(lambda: [t.join() for t in worker.state['threads']])"
    )
    reply = kernel.run(
        "while not any('later' in l.text for l in dn.runtime().logs.tail()): await asyncio.sleep(0.02)\n"
        "print(*[l.text for l in dn.runtime().logs.tail(1000, worker='notebook:w')], sep='\\n')"
    )
    expected = [f"t{n} {m}" for n in range(4) for m in range(50)] + ["task 1", "later 2"]
    assert sorted(reply.text.split("\n"))[1:] == sorted(expected)


CHILDREN = {
    "a forked child's print": "pid = os.fork()\nif not pid:\n    print('child', 1)\n    os._exit(0)\nos.waitpid(pid, 0)",
    "multiprocessing by fork": (
        "p = multiprocessing.get_context('fork').Process(target=print, args=('child', 1))\np.start()\np.join()"
    ),
    "multiprocessing by spawn": (
        "p = multiprocessing.get_context('spawn').Process(target=print, args=('child', 1))\np.start()\np.join()"
    ),
    "subprocess": "subprocess.run(['echo', 'child', '1'])",
    "asyncio's subprocess": "p = await asyncio.create_subprocess_shell('echo child 1')\nawait p.wait()",
    "subprocess to sys.stdout": "subprocess.run(['echo', 'child', '1'], stdout=sys.stdout)",
    "os.system": "assert os.system('echo child 1; exit 3') >> 8 == 3",
    "os.write": "os.write(1, b'child 1\\n')",
    "sys.__stdout__": "print('child', 1, file=sys.__stdout__)",
    "a child of a forked child": (
        "pid = os.fork()\nif not pid:\n    subprocess.run(['echo', 'child', '1'])\n    os._exit(0)\nos.waitpid(pid, 0)"
    ),
    "a child of a thread": "await asyncio.to_thread(subprocess.run, ['echo', 'child', '1'])",
    "C code": "libc = ctypes.CDLL(None)\nlibc.puts(b'child 1')\nlibc.fflush(None)\nawait asyncio.sleep(0.3)",
    "C code, at the end": "libc = ctypes.CDLL(None)\nlibc.puts(b'child 1')\nlibc.fflush(None)",
}
IMPORTS = "import asyncio, ctypes, multiprocessing, os, subprocess, sys"


@pytest.mark.parametrize("body", CHILDREN.values(), ids=CHILDREN)
def test_what_a_child_of_a_handler_prints_is_the_handlers(watching_kernel, body):
    lines, reply = fired(
        watching_kernel, f"print('before')\n{body}\nprint('after')", before=IMPORTS,
        then="while len(trace.invocations[0].logs) < 3: await __import__('asyncio').sleep(0.01)",
    )  # fmt: skip
    assert sorted(lines) == ["after", "before", "child 1"]
    if "libc" not in body and "__stdout__" not in body:
        assert lines == ["before", "child 1", "after"]
    assert reply.streams == {}


def test_a_cells_own_children_print_into_the_cell_while_a_handler_runs(watching_kernel):
    kernel = watching_kernel
    kernel.run(
        "%%worker w\nimport asyncio\n@worker.task\nasync def forever(client):\n    await asyncio.Event().wait()"
    )
    begun = kernel.begin(
        "import subprocess, os\nsubprocess.run(['echo', 'mine'])\nos.write(1, b'too\\n')\n"
        "while not os.path.exists('shown'): await asyncio.sleep(0.01)"
    )
    kernel.until_stream("too")
    Path("shown").touch()
    assert kernel.collect(begun).streams["stdout"] == "mine\ntoo\n"
    assert "mine" not in kernel.run("%worker logs w").text


def test_a_child_that_outlives_its_handler_still_prints_into_its_log(kernel):
    lines, _ = fired(
        kernel, "worker.state['p'] = subprocess.Popen('echo one; read x; echo two', shell=True, stdin=subprocess.PIPE)",
        before="import subprocess",
        then="worker.state['p'].communicate(b'\\n')\nwhile len(trace.invocations[0].logs) < 2: await __import__('asyncio').sleep(0.01)",
    )  # fmt: skip
    assert lines == ["one", "two"]


def test_lines_of_children_that_print_at_once_do_not_mix(kernel):
    body = (
        "code = \"import os\\nfor n in range(300):\\n    os.write(1, b'ab' * 10); os.write(1, b'\\\\n')\"\n"
        "ps = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(4)]\n"
        "await asyncio.to_thread(lambda: [p.wait() for p in ps])"
    )
    lines, _ = fired(kernel, body, before=IMPORTS)
    assert lines[-900:] == ["ab" * 10] * 900


def test_a_child_that_prints_more_than_a_pipe_holds_while_the_loop_is_blocked_ends(kernel):
    lines, _ = fired(
        kernel, "subprocess.run([sys.executable, '-c', 'print(\"y\\\\n\" * 39_999 + \"y\")'])", before=IMPORTS
    )
    assert set(lines) == {"y"}
    assert (
        kernel.run("print(len([l for l in dn.runtime().logs.tail(60_000) if l.text == 'y']))").text
        == "40000\n"
    )


def test_of_a_progress_bar_one_line_is_kept(shared_kernel):
    lines, _ = fired(
        shared_kernel, "for _ in tqdm(range(1000), mininterval=0): pass", before="from tqdm import tqdm"
    )
    assert len(lines) == 1
    assert "100%" in lines[0]


def test_captures_within_a_handler_take_its_output_alone(shared_kernel):
    lines, reply = fired(
        shared_kernel,
        "with capture_output() as caught:\n    print('in'); await asyncio.sleep(0)\nprint('out', caught.stdout.strip())",
        before="import asyncio\nfrom IPython.utils.capture import capture_output",
    )
    assert lines == ["out in"]


def test_a_repr_that_raises_or_prints_is_told_in_the_log_and_in_no_cell(shared_kernel):
    lines, reply = fired(
        shared_kernel,
        "display(Bad())\nprint('goes on')",
        before="class Bad:\n    def _repr_html_(self):\n        print('while drawn')\n        raise ValueError('no picture')",
    )
    text = "\n".join(lines)
    assert "while drawn" in lines
    assert "ValueError" in text
    assert "no picture" in text
    assert lines[-1] == "goes on"
    assert (reply.error, reply.streams, reply.traceback) == ("", {}, [])


def test_what_is_displayed_keeps_its_forms(shared_kernel):
    fired(
        shared_kernel,
        "display(HTML('<b>bold</b> words'))\ndisplay(Markdown('# Title'))\ndisplay(SVG('<svg/>'))\n"
        "display(Latex('$x$'))\ndisplay(JSON({'a': 1}))\ndisplay(Image(b'\\x89PNG\\r\\n\\x1a\\n', format='png'))",
        before="from IPython.display import *",
    )
    shown = shared_kernel.run(
        "for l in trace.invocations[0].logs: print(l.text, [k for k in l.data if k != 'text/plain'])"
    ).text.splitlines()
    assert shown == [
        "bold words ['text/html']",
        "# Title ['text/markdown']",
        "<IPython.core.display.SVG object> ['image/svg+xml']",
        "<IPython.core.display.Latex object> ['text/latex']",
        "<IPython.core.display.JSON object> ['application/json']",
        "<IPython.core.display.Image object> ['image/png']",
    ]


def test_a_display_that_is_updated_is_one_entry_with_the_later_content(shared_kernel):
    lines, reply = fired(
        shared_kernel,
        "shown = display('first', display_id=True)\nprint('between')\nfor n in range(100): shown.update(n)",
    )
    assert lines == ["99", "between"]
    assert reply.displays == []


def test_a_cells_display_is_updated_by_a_handler(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(event, client): shown.update('by a handler')")
    reply = kernel.run("shown = display('by a cell', display_id=True)\ntrace = await dn.fire('a')")
    assert [one["text/plain"] for one in reply.displays] == ["'by a cell'", "'by a handler'"]


def test_a_display_of_100_mb_is_cut_aloud_and_stored_whole(kernel):
    lines, _ = fired(kernel, "display(HTML('x' * 100_000_000))", before="from IPython.display import HTML")
    assert "[cut: text/html of 100,000,000 characters; all of it is in /" in lines[0]
    path = lines[0].rpartition("all of it is in ")[2].partition(",")[0]
    assert kernel.run(f"import os; print(os.path.getsize({path!r}))").text == "100000000\n"


def test_displays_without_number_are_counted_where_they_are_lost(kernel):
    fired(kernel, "for n in range(10_000): display(n)")
    ask = "one = trace.invocations[0]\nprint(len(one.logs), one.lines_lost >= 9000, f'{one.lines_lost:,}')"
    kept, is_counted, lost = kernel.run(ask).text.split()
    assert (kept, is_counted) == ("1000", "True")
    assert f"({lost} earlier lines are not kept any more)" in kernel.run("print(trace)").text


def test_a_display_of_a_thread_and_a_cleared_output_touch_no_cell(kernel):
    kernel.run(
        "%%worker w\nimport asyncio\nfrom IPython.display import clear_output, display\n"
        "@worker.on_event('a')\nasync def h(event, client):\n    await asyncio.to_thread(display, 7)\n    clear_output()"
    )
    reply = kernel.run("print('kept')\ntrace = await dn.fire('a')\nprint(trace.invocations[0].logs[0].text)")
    assert reply.streams["stdout"] == "kept\n7\n"


FIGURES = "%matplotlib inline\nimport matplotlib.pyplot as plt, asyncio"


def pictures(kernel) -> list[str]:
    return kernel.run(
        "print(*[sorted(l.data) for l in trace.invocations[0].logs if l.data])"
    ).text.splitlines()


def test_a_figure_that_a_handler_leaves_open_is_the_handlers_and_in_no_cell(kernel):
    lines, reply = fired(kernel, "plt.plot([1, 2])\nplt.figure()", before=FIGURES)
    assert [line.partition(" size")[0] for line in lines] == ["<Figure"] * 2
    assert reply.displays == []
    assert kernel.run("plt.get_fignums()").result["text/plain"] == "[]"
    assert kernel.run("1").displays == []


def test_pyplot_imported_by_the_handler_itself_is_separated_too(watching_kernel):
    kernel = watching_kernel
    body = "print('matplotlib.pyplot' in sys.modules)\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])"
    (was_there, *lines), reply = fired(kernel, body, before="import sys")
    assert was_there == "False"
    assert lines[0].startswith("<Figure")
    assert reply.displays == []
    assert kernel.run("1").displays == []


def test_a_cells_open_figure_is_not_drawn_into_while_it_waits_for_a_handler(kernel):
    kernel.run(
        f"%%worker w\n{FIGURES}\n@worker.on_event('a')\nasync def h(event, client):\n"
        "    plt.plot([1, 2, 3]); plt.title('handler'); worker.state['number'] = plt.gcf().number"
    )
    reply = kernel.run(
        "plt.plot([1, 2]); plt.title('cell')\ntrace = await dn.fire('a')\n"
        "print(plt.gca().get_title(), len(plt.gca().lines), plt.get_fignums())"
    )
    assert reply.streams["stdout"] == "cell 1 [1]\n"
    assert len([one for one in reply.displays if "image/png" in one]) == 1
    assert pictures(kernel) == ["['image/png', 'text/plain']"]


def test_two_handlers_plot_side_by_side_each_into_its_own_figure(kernel):
    body = "\n".join(
        f"@worker.on_event('a')\nasync def h{n}(event, client):\n    plt.title('{n}')\n"
        f"    for _ in range(3): plt.plot([1]); await asyncio.sleep(0)\n    print(plt.gca().get_title(), len(plt.gca().lines))"
        for n in range(3)
    )
    kernel.run(f"%%worker w\n{FIGURES}\n{body}")
    reply = kernel.run("trace = await dn.fire('a')\nprint(sorted(i.logs[0].text for i in trace.invocations))")
    assert reply.streams["stdout"] == "['0 3', '1 3', '2 3']\n"


def test_a_figure_shown_by_the_handler_is_shown_once(kernel):
    lines, _ = fired(kernel, "plt.plot([1])\nplt.show()\nprint(plt.get_fignums())", before=FIGURES)
    assert [line.partition(" size")[0] for line in lines] == ["<Figure", "[]"]


def test_a_figure_that_cannot_be_drawn_ends_its_handler_all_the_same(kernel):
    lines, reply = fired(kernel, "plt.title('$\\\\bad{$')", before=FIGURES)
    assert "ParseException" in "\n".join(lines) or "ValueError" in "\n".join(lines)
    assert kernel.run("print(trace.outcome)").text == "ok\n"
    assert reply.streams == {}


def test_after_unloading_figures_are_pyplots_own(kernel):
    kernel.run(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nfrom matplotlib._pylab_helpers import Gcf"
    )
    assert kernel.run("type(Gcf.figs).__name__").result["text/plain"] == "'_Separated'"
    kernel.run("%unload_ext dnworker")
    assert kernel.run("type(Gcf.figs).__name__").result["text/plain"] == "'OrderedDict'"
    assert "image/png" in kernel.run("plt.plot([1])").displays[0]


def test_a_trace_in_a_cell_has_frames_and_below_it_what_the_front_end_draws(shared_kernel):
    fired(
        shared_kernel,
        "display(HTML('<b>bold</b>'))\ndisplay(Markdown('# Title'))\ndisplay(IntSlider())\ndisplay(Latex('$x$'))",
        before="from IPython.display import *\nfrom ipywidgets import IntSlider",
    )
    reply = shared_kernel.run("trace")
    assert 'sandbox=""' in reply.result["text/html"]
    below = [sorted(set(one) - {"text/plain"}) for one in reply.displays]
    assert below == [["application/vnd.jupyter.widget-view+json"], ["text/latex"]]
    reply = shared_kernel.run("def show():\n    %fire a\nshow()")  # nobody awaits it: it ends after the code
    assert [
        form for one in reply.displays for form in sorted(one) if form not in ("text/plain", "text/html")
    ] == [
        "application/vnd.jupyter.widget-view+json",
        "text/latex",
    ]
    assert shared_kernel.run("1").displays == []


def test_a_log_goes_to_the_pager_and_back_by_numbers(kernel):
    fired(kernel, "for n in range(300): print('line', n)")
    shown = kernel.run("%worker logs w --last 2").text
    assert "(298 earlier lines; %worker logs w --before 299 shows the ones before" in shown
    assert shown.rstrip().endswith("line 299")
    assert kernel.run("%worker logs w --before 299 --last 1").text.rstrip().endswith("line 297")
    assert "line 7" in kernel.run('%worker logs w --grep "LINE 7" --event #2').text
    (paged,) = kernel.run("%worker logs w --all").pages
    assert paged.count("line ") == 300


def test_a_widget_that_captures_output_takes_that_of_its_handler_alone(kernel):
    kernel.run("from ipywidgets import Output\nout = Output()")
    lines, reply = fired(
        kernel,
        "with out:\n    print('caught'); display(7)\n    await asyncio.sleep(0.05)\nprint('logged')",
        before="import asyncio",
    )
    assert lines == ["logged"]
    assert (
        kernel.run("print([o.get('text', o.get('data')) for o in out.outputs])").text
        == "['caught\\n', {'text/plain': '7'}]\n"
    )
    assert kernel.run("print(repr(out.msg_id))").text == "''\n"
