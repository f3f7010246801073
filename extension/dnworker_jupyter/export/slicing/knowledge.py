"""What is known of Python's own functions and of common libraries: what changes, what looks, what does I/O.

Used by `facts`, `changes` and `purity`. What no table names is taken as a call that may change what it is
given; an export from a kernel proves by value which calls did.
"""

from __future__ import annotations

CHANGING_METHODS = frozenset({
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard", "update",
    "setdefault", "popitem", "appendleft", "extendleft", "popleft", "rotate", "intersection_update",
    "difference_update", "symmetric_difference_update", "subtract", "move_to_end", "put", "put_nowait",
    "get_nowait", "register", "fill", "seed", "setLevel", "addHandler", "addFilter", "removeHandler",
    "push", "enqueue", "dequeue", "send", "write", "writerow", "writerows", "release", "acquire", "set",
    "__setitem__", "__delitem__", "__setattr__", "__iadd__", "__init__", "cache_clear", "set_option",
    "add_argument", "add_rule", "set_trace", "connect_signal", "subscribe", "on", "include_router",
})  # fmt: skip
"""Methods whose name says that they change their object."""

LOOKING_METHODS = frozenset({
    "get", "keys", "values", "items", "copy", "index", "count", "join", "split", "rsplit", "splitlines",
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "casefold", "format",
    "format_map", "startswith", "endswith", "replace", "find", "rfind", "encode", "decode", "partition",
    "rpartition", "zfill", "ljust", "rjust", "center", "isdigit", "isalpha", "isoformat", "strftime",
    "total_seconds", "most_common", "elements", "union", "intersection", "difference",
    "symmetric_difference", "issubset", "issuperset", "isdisjoint", "head", "tail", "describe", "info",
    "to_dict", "to_list", "tolist", "model_dump", "model_dump_json", "as_posix", "with_suffix",
    "with_name", "relative_to", "match", "fullmatch", "search", "findall", "finditer", "sub", "bit_length",
    "as_integer_ratio", "hex", "quantize", "date", "time", "timestamp", "weekday", "isocalendar",
    "astimezone", "getvalue", "mean", "sum", "min", "max", "std", "round", "abs", "groupby", "sort_values",
    "value_counts", "__len__", "__repr__", "__str__", "debug", "warning", "error", "exception", "critical",
    "log", "isEnabledFor", "getEffectiveLevel", "show", "publish", "notify", "run_turn", "create_session",
    "fetch_session", "list_sessions", "execute_tool", "plot", "hist", "set_title", "set_xlabel",
    "set_ylabel", "legend", "savefig", "tight_layout",
})  # fmt: skip
"""Methods whose name says that they only look at their object, or draw it."""

CHANGING_FUNCTIONS: dict[str, tuple[int | str, ...]] = {
    "print": ("file",), "json.dump": (1, "fp"), "pickle.dump": (1, "file"), "setattr": (0,),
    "delattr": (0,), "next": (0,), "exec": (1,), "anext": (0,), "heapq.heappush": (0,),
    "heapq.heappop": (0,), "heapq.heapify": (0,), "heapq.heapreplace": (0,), "heapq.heappushpop": (0,),
    "random.shuffle": (0,), "bisect.insort": (0,), "bisect.insort_left": (0,), "bisect.insort_right": (0,),
    "functools.update_wrapper": (0,), "collections.deque.append": (0,),
    "collections.abc.Sequence.register": (0,), "operator.setitem": (0,), "operator.delitem": (0,),
    "operator.iadd": (0,), "operator.iconcat": (0,), "operator.ior": (0,), "operator.iand": (0,),
    "operator.isub": (0,), "operator.ixor": (0,), "operator.imul": (0,), "object.__setattr__": (0,),
    "type.__setattr__": (0,), "copyreg.pickle": (), "numpy.copyto": (0,), "numpy.put": (0,),
    "numpy.random.shuffle": (0,),
}  # fmt: skip
"""Functions that change an argument: the positions of those that they change."""

LOOKING_PREFIXES = ("to_", "is_", "has_", "as_", "get_", "print", "show", "display", "plot")

KEEP_A_PLACE = frozenset({
    "random.Random", "numpy.random.default_rng", "numpy.random.RandomState", "numpy.random.Generator",
    "numpy.random.SeedSequence", "io.StringIO", "io.BytesIO", "sqlite3.connect", "zlib.compressobj",
    "zlib.decompressobj", "bz2.BZ2Compressor", "bz2.BZ2Decompressor", "lzma.LZMACompressor",
    "lzma.LZMADecompressor",
})  # fmt: skip
"""What makes objects that each method moves on, such as random generators; but not those that only look.

A proof by value cannot look into them, so that nothing else says that a method counts.
"""

DRAWING_METHODS = frozenset({
    "random", "randint", "randrange", "choice", "choices", "uniform", "gauss", "shuffle", "integers",
    "normal", "standard_normal", "permutation", "getrandbits", "randbytes", "betavariate", "expovariate",
    "normalvariate", "triangular", "poisson", "exponential", "multinomial",
})  # fmt: skip
"""Methods of random generators, by names that hardly anything else has: a draw moves the generator on."""

IN_MEMORY = frozenset({"io.StringIO", "io.BytesIO"})
"""What makes objects that look like files, and are none."""

HANDING_ON = frozenset({"get", "keys", "values", "items", "index", "match"})
"""Methods that only look, and return a part or a view of their object."""

ITERATORS = frozenset({"iter", "map", "filter", "zip", "enumerate", "reversed"})
"""Builtins that make an iterator, which is used up by going through it."""

WRAPPERS = frozenset({"vars", "getattr", "iter", "reversed", "enumerate", "memoryview", "cast", "zip"})
"""Functions whose result is a view of what they are given."""

METHODS_BY_CLASS = frozenset({"list", "dict", "set", "bytearray", "object", "type", "OrderedDict", "deque"})
"""Classes whose methods may be called with their object as the first argument: `list.append(x, 1)`."""

LOOKING_FUNCTIONS = frozenset({
    "abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "complex", "dict", "dir",
    "display", "divmod", "enumerate", "filter", "float", "format", "frozenset", "getattr", "hasattr",
    "hash", "help", "hex", "id", "int", "isinstance", "issubclass", "iter", "len", "list", "map", "max",
    "memoryview", "min", "oct", "ord", "pow", "print", "property", "range", "repr", "reversed", "round",
    "set", "slice", "sorted", "str", "sum", "super", "tuple", "type", "vars", "zip", "classmethod",
    "staticmethod", "object", "bytearray", "locals",
})  # fmt: skip
"""Builtins that change nothing that they are given, except an iterator that they go through."""

LOOKING_MODULES = frozenset({
    "matplotlib", "seaborn", "plotly", "bokeh", "altair", "IPython", "pprint", "rich", "tqdm",
    "ipywidgets", "json", "math", "statistics", "copy", "itertools", "re", "textwrap", "string", "inspect",
    "dataclasses", "typing", "collections", "timeit", "time", "dis", "sys", "tabulate", "base64",
    "hashlib", "hmac", "urllib", "html", "difflib", "cmath", "fractions", "decimal", "datetime",
    "zoneinfo", "uuid", "pathlib", "os", "enum", "abc", "numbers", "contextlib", "functools", "operator",
    "types", "ast", "token",
})  # fmt: skip
"""Modules whose functions change nothing that they are given, those of `CHANGING_FUNCTIONS` excepted."""

PLAIN_BASES = frozenset({
    "object", "ABC", "Protocol", "BaseModel", "BaseSettings", "Enum", "IntEnum", "StrEnum", "Flag",
    "IntFlag", "NamedTuple", "TypedDict", "Generic", "Thread", "Exception", "ValueError", "RuntimeError",
    "KeyError", "TypeError", "LookupError", "OSError", "BaseException", "dict", "list", "set", "tuple",
    "str", "int", "float", "UserDict", "UserList", "UserString", "TestCase", "JSONEncoder", "JSONDecoder",
    "Formatter", "Handler", "Filter", "NodeVisitor", "NodeTransformer", "HTMLParser", "Struct",
    "ConnectionError", "TimeoutError", "IndexError", "AttributeError", "NotImplementedError",
    "ArithmeticError", "deque", "defaultdict", "OrderedDict", "Counter", "frozenset", "bytes", "type",
})  # fmt: skip
"""Base classes that keep no list of their subclasses which code is likely to ask for."""

Category = str
"""What a call does that a script must not do while it is imported; the keys of `REMEDIES`."""

IMPURE: dict[str, Category] = {
    # connections
    "socket": "connection", "http.client": "connection", "urllib.request": "connection",
    "requests": "connection", "httpx": "connection", "aiohttp": "loop", "websockets": "connection",
    "websocket": "connection", "redis": "connection", "psycopg": "connection", "psycopg2": "connection",
    "pymysql": "connection", "pymongo": "connection", "sqlite3.connect": "connection",
    "smtplib": "connection", "imaplib": "connection", "poplib": "connection", "ftplib": "connection",
    "telnetlib": "connection", "paramiko": "connection", "boto3": "connection", "kafka": "connection",
    "pika": "connection", "nats": "connection", "grpc": "connection", "asyncpg": "connection",
    "feedparser": "connection", "yfinance": "connection", "duckdb": "connection",
    "asyncio.open_connection": "connection", "datasets.load_dataset": "connection",
    "webbrowser": "connection",
    # files
    "open": "file", "io.open": "file", "os.open": "file", "os.listdir": "file", "os.walk": "file",
    "os.scandir": "file", "os.stat": "file", "os.path.exists": "file", "os.path.isfile": "file",
    "os.path.isdir": "file", "os.path.getsize": "file", "os.path.getmtime": "file", "os.remove": "writes",
    "os.unlink": "writes", "os.rename": "writes", "os.replace": "writes", "os.mkdir": "writes",
    "os.makedirs": "writes", "os.rmdir": "writes", "os.chdir": "directory", "os.chmod": "writes",
    "shutil": "writes", "tempfile": "writes", "glob": "file", "shelve": "file", "dbm": "file",
    "zipfile.ZipFile": "file", "tarfile.open": "file", "gzip.open": "file", "bz2.open": "file",
    "lzma.open": "file", "codecs.open": "file", "fileinput": "file", "linecache": "file",
    "tomllib.load": "file", "json.load": "file", "pickle.load": "file", "csv.reader": "", "mmap": "file",
    "importlib.resources": "file", "numpy.load": "file", "numpy.loadtxt": "file",
    "numpy.genfromtxt": "file", "numpy.fromfile": "file", "numpy.memmap": "file", "joblib.load": "file",
    "torch.load": "file", "PIL.Image.open": "file", "configparser.ConfigParser.read": "file",
    "logging.FileHandler": "writes", "logging.config.fileConfig": "file", "dotenv": "file",
    # processes and threads
    "subprocess": "process", "os.system": "process", "os.popen": "process", "os.fork": "process",
    "os.kill": "process", "os._exit": "process", "multiprocessing": "process", "pty": "process",
    "signal": "process", "atexit": "process", "sys.exit": "process", "exit": "process", "quit": "process",
    "threading.Thread": "", "threading.Timer": "", "concurrent.futures": "", "_thread": "process",
    # time
    "time.sleep": "waits", "asyncio.run": "loop", "asyncio.sleep": "loop", "asyncio.create_task": "loop",
    "asyncio.ensure_future": "loop", "asyncio.gather": "loop", "asyncio.get_event_loop": "loop",
    "asyncio.get_running_loop": "loop", "asyncio.wait": "loop", "asyncio.wait_for": "loop",
    # what is different each time
    "time.time": "varies", "time.time_ns": "varies", "time.monotonic": "varies",
    "time.monotonic_ns": "varies", "time.perf_counter": "varies", "time.perf_counter_ns": "varies",
    "time.process_time": "varies", "time.localtime": "varies", "time.gmtime": "varies",
    "time.ctime": "varies", "datetime.datetime.now": "varies", "datetime.datetime.utcnow": "varies",
    "datetime.datetime.today": "varies", "datetime.date.today": "varies", "pandas.Timestamp.now": "varies",
    "pandas.Timestamp.utcnow": "varies", "uuid.uuid1": "varies", "uuid.uuid4": "varies",
    "uuid.getnode": "machine", "secrets": "varies", "os.urandom": "varies",
    "random.SystemRandom": "varies", "id": "varies", "os.getpid": "varies", "os.getppid": "varies",
    "os.getcwd": "machine", "os.cpu_count": "machine", "os.getlogin": "machine", "os.uname": "machine",
    "platform": "machine", "getpass": "machine", "pathlib.Path.cwd": "machine",
    "pathlib.Path.home": "machine", "os.path.expanduser": "machine", "os.path.abspath": "machine",
    "os.path.realpath": "machine", "socket.gethostname": "machine", "psutil": "machine",
    "locale.getlocale": "machine", "sys.getsizeof": "",
    # what cannot be followed
    "eval": "unfollowed", "exec": "unfollowed",
    # a person
    "input": "input", "getpass.getpass": "input", "breakpoint": "input", "pdb": "input", "help": "input",
}  # fmt: skip
"""What functions do, by dotted name; a module stands for all in it; `""` takes a name out of its module's."""

PURE_WITHIN = frozenset({
    "socket.timeout", "socket.setdefaulttimeout", "socket.getdefaulttimeout", "socket.AF_INET",
    "http.HTTPStatus", "httpx.AsyncClient", "httpx.Client", "httpx.Timeout", "httpx.Limits", "httpx.URL",
    "httpx.Headers", "httpx.AsyncHTTPTransport", "httpx.HTTPTransport", "httpx.MockTransport",
    "httpx.BasicAuth", "httpx.QueryParams", "requests.Session", "requests.session",
    "requests.adapters.HTTPAdapter", "redis.Redis", "redis.asyncio.Redis", "redis.from_url",
    "redis.asyncio.from_url", "urllib.request.Request", "websockets.Headers", "aiohttp.ClientTimeout",
    "pymongo.ASCENDING", "boto3.dynamodb.conditions.Key", "multiprocessing.Lock", "signal.SIGTERM",
    "subprocess.CalledProcessError", "smtplib.SMTPException", "tempfile.gettempdir",
    "dotenv.dotenv_values", "secrets.compare_digest", "feedparser.FeedParserDict",
    "platform.python_version", "platform.python_version_tuple", "multiprocessing.cpu_count",
    "shutil.which", "grpc.StatusCode", "psutil.NoSuchProcess",
})  # fmt: skip
"""Names within impure modules that open and start nothing."""

IMPURE_METHODS: dict[str, Category] = {
    "read_text": "file", "read_bytes": "file", "write_text": "writes", "write_bytes": "writes",
    "mkdir": "writes", "unlink": "writes", "rmdir": "writes", "touch": "writes", "iterdir": "file",
    "rglob": "file", "is_file": "file", "is_dir": "file", "to_csv": "writes", "to_parquet": "writes",
    "to_excel": "writes", "to_sql": "writes", "to_json": "", "savefig": "writes", "urlopen": "connection",
    "connect": "connection", "run_until_complete": "loop", "serve_forever": "loop",
    "create_all": "connection", "readline": "file", "readlines": "file", "expanduser": "machine",
    "exists": "file", "open": "file", "glob": "file", "resolve": "machine", "absolute": "machine",
    "stat": "file", "start": "process",
}  # fmt: skip
"""Methods whose name says what they do, whatever their object is."""

IMPURE_READERS = (
    "read_csv", "read_json", "read_parquet", "read_excel", "read_table", "read_html", "read_pickle",
    "read_sql", "read_feather", "read_fwf", "read_xml", "read_hdf", "imread", "read_file",
)  # fmt: skip

DRAWS = frozenset({"random", "numpy.random"})
"""Modules that hold a random generator: what they draw follows from the seed that was set before."""

SEEDS = frozenset({"random.seed", "numpy.random.seed", "torch.manual_seed", "random.setstate"})

REMEDIES: dict[Category, tuple[str, str]] = {
    "connection": (
        "opens a connection",
        "open it in an @worker.on_startup handler, and keep it in worker.state",
    ),
    "file": (
        "reads from the disk",
        "ship the file in a module's directory beside the notebook or name its place by --env, and read it "
        "in an @worker.on_startup handler",
    ),
    "writes": ("writes to the disk", "do it in an @worker.on_startup handler"),
    "directory": (
        "changes the working directory",
        "name files by their full path, or call os.chdir in an @worker.on_startup handler",
    ),
    "process": ("acts on processes", "do it in an @worker.on_startup handler"),
    "loop": (
        "runs on the event loop of the notebook",
        "await it in an @worker.on_startup handler, and keep the result in worker.state",
    ),
    "waits": ("waits", "do it in an @worker.on_startup handler"),
    "varies": (
        "is different each time it runs",
        "compute it in an @worker.on_startup handler, and keep it in worker.state",
    ),
    "machine": (
        "depends on the machine",
        "read it in an @worker.on_startup handler, or give it with --env",
    ),
    "input": ("asks a person", "give it with --env, and read it from os.environ"),
    "unfollowed": ("runs code that cannot be followed", "write it out as code"),
    "magic": ("comes from a magic, which exists only in a notebook", "write it as plain Python"),
}
"""What to say of each category: what it does, and the one way out."""
