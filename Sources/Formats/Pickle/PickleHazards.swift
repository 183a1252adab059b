/// Classes and functions that do harm when an unpickler calls them, and what each is known for.
///
/// The list serves to name dangers, not to find all of them: anything that is neither listed here
/// nor known to be data is reported as unknown, and neither kind is ever called. Sources: the
/// documentation of Python and of the packages, and the advisories of picklescan, fickling and
/// modelscan.
enum PickleHazards {
  private static let shell = "runs programs and shell commands"
  private static let code = "runs Python code"
  private static let network = "opens network connections"
  private static let files = "reads, writes or deletes files"
  private static let unpickles = "unpickles other data, which runs code"
  private static let native = "loads and calls native code"
  private static let packages = "installs packages, which runs code"
  private static let attributeAccess = "reaches any attribute, such as another module's functions"
  private static let imports = "imports modules, which runs code"

  /// Whether a checkpoint that calls `name` is refused, because the call would run programs or
  /// code, reach the network or files, or end the program that loads it.
  ///
  /// Most dangerous names also occur in harmless checkpoints, where they are mere data to a reader
  /// that executes nothing: bound methods and `torch.relu` are calls of `getattr`, functions and
  /// classes of a notebook are those of cloudpickle, and enumerations come from any module.
  static func isRefused(_ name: String) -> Bool {
    guard PickleGlobalJudgement(of: name).verdict == .dangerous, !inert.contains(name) else {
      return false
    }
    guard names[name] == nil else { return true }
    let parts = name.split(separator: ".")
    guard let last = parts.last, let package = parts.first else { return true }
    guard !serializers.contains(String(package)) else {
      return ["load", "loads", "Unpickler"].contains(last)
    }
    // Enumerations, symbols and signatures.
    let isClass = last.drop { $0 == "_" }.first?.isUppercase ?? false
    return !(isClass && dataPackages.contains(String(package)))
  }

  /// Packages whose classes are data, even though their functions are dangerous.
  private static let dataPackages: Set<String> = ["signal", "inspect", "sympy"]

  /// Packages whose functions rebuild functions and classes.
  private static let serializers: Set<String> = ["cloudpickle", "dill"]

  /// Names that are dangerous for what they lead to, but harmless to a reader that executes
  /// nothing.
  private static let inert: Set<String> = [
    "builtins.getattr", "builtins.setattr", "builtins.delattr", "builtins.hasattr", "builtins.vars",
    "builtins.dir", "builtins.print", "builtins.memoryview", "builtins.map", "builtins.filter",
    "operator.attrgetter", "operator.methodcaller", "operator.call", "_operator.attrgetter",
    "_operator.methodcaller", "_operator.call", "functools.reduce", "functools._reconstruct",
    "types.CodeType", "types.FunctionType", "types.LambdaType", "types.MethodType",
    "types.ModuleType", "numpy.vectorize", "torch.fx.graph_module.reduce_graph_module",
    "torch.fx.graph_module.reduce_package_graph_module",
    "torch.fx.graph_module.reduce_deploy_graph_module",
    "transformers.utils.import_utils._LazyModule",
  ]

  /// Functions that call the function passed to them.
  static let callers: Set<String> = [
    "builtins.map", "builtins.filter", "operator.call", "_operator.call", "functools.reduce",
    "functools._reconstruct",
  ]

  /// Attributes that lead away from the start of a dotted name.
  static let attributes: Set<String> = [
    "os", "posix", "nt", "sys", "subprocess", "builtins", "__builtins__", "__import__",
    "__globals__", "__dict__", "__class__", "__bases__", "__mro__", "__subclasses__", "__code__",
    "__getattribute__", "__loader__", "__spec__", "importlib", "ctypes", "shutil", "socket",
    "pty", "runpy", "__reduce__", "__reduce_ex__", "__init__", "__call__",
  ]

  /// Modules that are dangerous as a whole, including their submodules.
  static let modules: [String: String] = Dictionary(
    groups.flatMap { hazard, names in names.map { ($0, hazard) } },
    uniquingKeysWith: { first, _ in first })

  private static let groups: [(String, [String])] = [
    (
      shell,
      [
        "os", "posix", "nt", "subprocess", "popen2", "pty", "pexpect", "sh", "plumbum", "fabric",
        "invoke", "_posixsubprocess", "_pyrepl", "pyrepl", "_osx_support", "_aix_support",
        "_bootsubprocess", "multiprocessing", "concurrent", "webbrowser", "antigravity",
      ]
    ),
    (
      code,
      [
        "runpy", "code", "codeop", "bdb", "pdb", "trace", "profile", "cProfile", "timeit",
        "doctest", "unittest", "test.support", "lib2to3", "idlelib", "rlcompleter", "IPython",
        "ipykernel",
        "pydoc", "cgitb", "site", "atexit", "sched", "signal", "gc", "inspect", "py_compile",
        "compileall", "numexpr", "jinja2", "sympy", "nose", "pytest", "_pytest", "dis",
        "torch.utils.bottleneck", "torch.utils.collect_env", "torch._dynamo.guards",
        "torch._inductor", "torch._functorch", "torch.testing", "torch.fx.experimental",
        "torch.package", "numpy.testing", "torch.utils.data.datapipes.utils.decoder",
        "torch.utils._config_module",
      ]
    ),
    (
      network,
      [
        "socket", "_socket", "socketserver", "ssl", "http", "httplib", "urllib", "urllib2",
        "urllib3", "requests", "aiohttp", "httpx", "ftplib", "smtplib", "smtpd", "telnetlib",
        "poplib", "imaplib", "nntplib", "xmlrpc", "asyncio", "paramiko", "boto3", "botocore",
        "websocket", "websockets", "wget", "pycurl", "select", "selectors",
        "torch.distributed.rpc", "torch.hub", "torch.utils.model_zoo", "huggingface_hub",
      ]
    ),
    (
      files,
      [
        "shutil", "tempfile", "glob", "fileinput", "zipfile", "tarfile", "sqlite3", "dbm",
        "linecache", "mmap", "fcntl", "ntpath", "posixpath", "genericpath", "filecmp", "mailbox",
        "pwd", "grp", "spwd", "winreg", "msvcrt", "resource", "syslog", "logging.config",
        "logging.handlers", "fsspec",
      ]
    ),
    (
      unpickles,
      [
        "pickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle", "yaml",
        "pandas.io.pickle", "joblib.numpy_pickle_compat",
      ]
    ),
    (
      native,
      [
        "ctypes", "_ctypes", "cffi", "_cffi_backend", "numpy.ctypeslib", "numpy.f2py",
        "numpy.distutils", "torch.utils.cpp_extension", "torch.ops", "torch._ops", "torch.classes",
        "win32api", "win32com", "llvmlite", "numba", "triton",
      ]
    ),
    (
      packages,
      ["pip", "ensurepip", "venv", "setuptools", "distutils", "pkg_resources", "easy_install"]
    ),
    (
      imports,
      [
        "importlib", "_frozen_importlib", "_frozen_importlib_external", "imp", "_imp", "pkgutil",
        "zipimport", "modulefinder",
      ]
    ),
    ("controls the interpreter", ["sys", "_thread", "faulthandler", "platform", "tracemalloc"]),
    ("opens windows and runs their code", ["tkinter", "turtle"]),
  ]

  /// Single dangerous classes and functions of modules that are otherwise harmless.
  static let names: [String: String] = [
    "builtins.eval": "runs any Python expression",
    "builtins.exec": "runs any Python code",
    "builtins.execfile": "runs a file of Python code",
    "builtins.compile": "makes code from text, to be run",
    "builtins.__import__": imports,
    "builtins.reload": imports,
    "builtins.apply": "calls any function",
    "builtins.map": "calls any function",
    "builtins.filter": "calls any function",
    "builtins.open": "opens any file, also for writing",
    "builtins.file": "opens any file, also for writing",
    "builtins.getattr": attributeAccess,
    "builtins.setattr": "changes any attribute, such as another module's functions",
    "builtins.delattr": "deletes any attribute",
    "builtins.hasattr": attributeAccess,
    "builtins.globals": "gives the unpickler's own variables",
    "builtins.locals": "gives the unpickler's own variables",
    "builtins.vars": "gives any object's variables",
    "builtins.dir": "lists any object's attributes",
    "builtins.input": "waits for the user, and runs the answer in Python 2",
    "builtins.raw_input": "waits for the user",
    "builtins.breakpoint": "starts a debugger",
    "builtins.help": "starts a pager program",
    "builtins.exit": "ends the program",
    "builtins.quit": "ends the program",
    "builtins.print": "writes to the terminal",
    "builtins.memoryview": "reaches an object's memory",
    "operator.attrgetter": attributeAccess,
    "operator.methodcaller": "calls any method",
    "operator.call": "calls any function",
    "_operator.attrgetter": attributeAccess,
    "_operator.methodcaller": "calls any method",
    "_operator.call": "calls any function",
    "io.open": "opens any file, also for writing",
    "io.open_code": "opens any file",
    "io.FileIO": "opens any file, also for writing",
    "_io.open": "opens any file, also for writing",
    "_io.open_code": "opens any file",
    "_io.FileIO": "opens any file, also for writing",
    "codecs.open": "opens any file, also for writing",
    "types.CodeType": "makes code from bytes, to be run",
    "types.FunctionType": "makes functions from code",
    "types.LambdaType": "makes functions from code",
    "types.MethodType": "binds any function",
    "types.ModuleType": "makes modules",
    "functools.reduce": "calls any function",
    "functools._reconstruct": "calls any function",
    "uuid._get_command_stdout": shell,
    "uuid._popen": shell,
    "logging.FileHandler": "opens any file for writing",
    "numpy.load": unpickles,
    "numpy.lib.npyio.load": unpickles,
    "numpy.lib._npyio_impl.load": unpickles,
    "numpy.fromfile": files,
    "numpy.memmap": files,
    "numpy.save": files,
    "numpy.savetxt": files,
    "numpy.loadtxt": files,
    "numpy.genfromtxt": files,
    "numpy.vectorize": "calls any function",
    "numpy.apply_along_axis": "calls any function",
    "numpy.lib.utils.source": "prints source files",
    "joblib.load": unpickles,
    "joblib.numpy_pickle.load": unpickles,
    "pandas.eval": code,
    "pandas.core.computation.eval.eval": code,
    "pandas.read_pickle": unpickles,
    "pandas.read_csv": "reads any file or address",
    "torch.load": unpickles,
    "torch.save": files,
    "torch.serialization.load": unpickles,
    "torch.serialization.save": files,
    "torch.serialization._load": unpickles,
    "torch.serialization._legacy_load": unpickles,
    "torch.fx.graph_module.reduce_graph_module": "runs the Python code that the pickle holds",
    "torch.fx.graph_module.reduce_package_graph_module": "runs Python code that it imports",
    "torch.fx.graph_module.reduce_deploy_graph_module": "runs Python code that it imports",
    "torch.jit.load": "loads programs",
    "torch.jit._serialization.load": "loads programs",
    "torch.jit.unsupported_tensor_ops.execWrapper": code,
    "torch.jit._script.script": "compiles programs",
    "torch.compile": "compiles and runs native code",
    "torch._C._jit_pass_lint": native,
    "torch.utils.data.datapipes.map.callable.MapperMapDataPipe": "calls any function",
    "torch.utils._import_utils.import_dill": imports,
    "torch.utils.data._utils.worker._worker_loop": "calls any function",
    "torch.cuda._compile_kernel": native,
    "keras.models.load_model": "loads models, whose layers may hold code",
    "keras.saving.load_model": "loads models, whose layers may hold code",
    "tensorflow.keras.models.load_model": "loads models, whose layers may hold code",
    "tensorflow.io.read_file": files,
    "tensorflow.io.write_file": files,
    "tensorflow.raw_ops.ReadFile": files,
    "tensorflow.raw_ops.WriteFile": files,
    "tensorflow.load_op_library": native,
    "transformers.utils.import_utils._LazyModule": imports,
    "nltk.data.load": "loads any file or address, including pickles",
    "nltk.downloader.download": network,
  ]
}

/// The assessment of a class or function that a pickle names.
struct PickleGlobalJudgement: Hashable, Sendable {
  let verdict: PickleVerdict
  let knownFor: String?

  init(_ verdict: PickleVerdict, _ knownFor: String?) {
    self.verdict = verdict
    self.knownFor = knownFor
  }

  /// Judges a name.
  ///
  /// - Parameter name: the dotted name in Python 3.
  init(of name: String) {
    if let hazard = PickleHazards.names[name] {
      self.init(.dangerous, hazard)
      return
    }
    if PyTorchGlobals.isAllowed(name) {
      self.init(.allowed, PyTorchGlobals.remarks[name])
      return
    }
    let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    for count in stride(from: parts.count - 1, to: 0, by: -1) {
      if let hazard = PickleHazards.modules[parts[..<count].joined(separator: ".")] {
        self.init(.dangerous, hazard)
        return
      }
    }
    // A dotted name walks through attributes: `torch.serialization.os.system` is `os.system`.
    if parts.dropFirst().contains(where: PickleHazards.attributes.contains) {
      self.init(.dangerous, "reaches other modules through attributes")
      return
    }
    self.init(.unknown, nil)
  }
}
