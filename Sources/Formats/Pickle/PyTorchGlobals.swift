/// The globals that are known to be data or constructors of data.
///
/// They are the weights-only set of torch 2.15, and what else ordinary checkpoints hold: NumPy
/// arrays, dates, paths, containers of the standard library, and the modules of `torch.nn`. Naming
/// one is allowed; the object reader decides whether its use can be represented.
enum PyTorchGlobals {
  static func isAllowed(_ name: String) -> Bool {
    allowed.contains(name) || isModuleOrOptimizer(name)
  }

  static let allowed = Set(
    containers + functions + classes + dtypes + storages + tensors + standardLibrary + numpy
      + torchScript)

  /// Remarks on globals that are harmless only because the reader looks inside.
  static let remarks = [
    "torch.storage._load_from_bytes": "opens a checkpoint inside this one, which is looked into"
  ]

  /// Whether `name` is a class of `torch.nn.modules.*` or `torch.optim.*`, or an activation
  /// function.
  private static func isModuleOrOptimizer(_ name: String) -> Bool {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count >= 4, parts[0] == "torch", let last = parts.last,
      last.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") })
    else { return false }
    let isClass = last.first?.isUppercase ?? false
    switch (parts[1], parts[2]) {
    case ("nn", "modules"): return isClass && parts.count == 5
    case ("nn", "functional"):
      return parts.count == 4 && (last.first?.isLowercase ?? false)
        && last != "handle_torch_function"
    case ("optim", _): return isClass && parts.count == 4
    default: return false
    }
  }

  private static let containers = [
    "collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.bytearray",
    "builtins.complex", "builtins.set",
  ]

  private static let standardLibrary =
    [
      "list", "tuple", "dict", "frozenset", "bytes", "str", "int", "float", "bool", "object",
      "range", "slice", "Ellipsis", "NotImplemented",
    ].map { "builtins.\($0)" }
    + ["datetime", "date", "time", "timedelta", "timezone"].map { "datetime.\($0)" }
    + [
      "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath",
    ].flatMap { ["pathlib.\($0)", "pathlib._local.\($0)"] }
    + [
      "collections.defaultdict", "collections.deque", "collections.UserDict",
      "copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__",
      "argparse.Namespace", "types.SimpleNamespace", "decimal.Decimal", "fractions.Fraction",
      "uuid.UUID", "uuid.SafeUUID",
    ]

  private static let numpy =
    ["numpy.core", "numpy._core"].flatMap {
      [
        "\($0).multiarray._reconstruct", "\($0).multiarray.scalar", "\($0).numeric._frombuffer",
        "\($0)._internal._reconstruct",
      ]
    } + ["numpy.ndarray", "numpy.dtype", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix"]
    + [
      "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
      "float16", "float32", "float64", "complex64", "complex128", "str_", "bytes_", "intc",
      "longlong", "ulonglong",
    ].map { "numpy.\($0)" }
    + [
      "randomstate_ctor", "bit_generator_ctor", "generator_ctor",
    ].map { "numpy.random._pickle.__\($0)" }
    + ["mt19937.MT19937", "pcg64.PCG64"].flatMap {
      ["numpy.random._\($0)", "numpy.random._\($0.split(separator: ".")[0])"]
    }

  private static let torchScript = [
    "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag",
    "build_tensor_from_id",
  ].map { "torch.jit._pickle.\($0)" }

  private static let functions =
    [
      "tensor", "xla_tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state",
      "qtensor",
      "sparse_tensor", "nested_tensor", "meta_tensor_no_storage", "wrapper_subclass",
      "device_tensor_from_numpy", "device_tensor_from_cpu_tensor",
    ].map { "torch._utils._rebuild_\($0)" } + [
      "torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout",
      "torch.storage._load_from_bytes",
    ]

  private static let classes = [
    "torch.Size", "torch.Tensor", "torch.device", "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable",
    "torch.storage.TypedStorage", "torch.storage.UntypedStorage", "torch.Generator",
    "torch._C.Generator",
  ]

  /// dtypes and quantization schemes, which are values.
  static let dtypes =
    ElementType.allCases.compactMap { PyTorchTypes.dtype(of: $0) }.map { "torch.\($0)" }
    + (1...7).flatMap { ["torch.int\($0)", "torch.uint\($0)"] }
    + [
      "bcomplex32", "qint8", "qint32", "quint8", "quint4x2", "quint2x4", "per_tensor_affine",
      "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
      "per_channel_affine_float_qparams",
    ].map { "torch.\($0)" }

  private static let kinds = [
    "BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short",
  ]

  private static let storages =
    (kinds + ["ComplexDouble", "ComplexFloat"]).flatMap {
      ["torch.\($0)Storage", "torch.cuda.\($0)Storage"]
    } + ["QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8"].map { "torch.\($0)Storage" }

  private static let tensors =
    kinds.flatMap { ["torch.\($0)Tensor", "torch.cuda.\($0)Tensor"] }
    + kinds.filter { $0 != "Bool" }.flatMap {
      ["torch.sparse.\($0)Tensor", "torch.cuda.sparse.\($0)Tensor"]
    }
}

/// PyTorch's names of element types: storage classes for the old types, dtypes for all.
enum PyTorchTypes {
  /// The types with their own storage class; such storages record their element counts.
  private static let storageClasses: [ElementType: String] = [
    .float64: "DoubleStorage", .float32: "FloatStorage", .float16: "HalfStorage",
    .bfloat16: "BFloat16Storage", .int64: "LongStorage", .int32: "IntStorage",
    .int16: "ShortStorage", .int8: "CharStorage", .uint8: "ByteStorage", .bool: "BoolStorage",
    .complex64: "ComplexFloatStorage", .complex128: "ComplexDoubleStorage",
  ]

  private static let elementTypes = Dictionary(
    uniqueKeysWithValues: storageClasses.map { ($0.value, $0.key) })

  /// Returns the storage class in the module `torch`, or `nil` for types newer than storage
  /// classes.
  static func storageClass(of elementType: ElementType) -> String? {
    storageClasses[elementType]
  }

  /// Returns the element type of a storage class such as `torch.FloatStorage` or its twin in
  /// `torch.cuda`.
  static func elementType(ofStorageClass name: String) -> ElementType? {
    for module in ["torch.cuda.", "torch."] where name.hasPrefix(module) {
      return elementTypes[String(name.dropFirst(module.count))]
    }
    return nil
  }

  /// Returns the type of the integers in a quantized storage class such as `torch.QInt8Storage`.
  static func quantizedElementType(ofStorageClass name: String) -> ElementType? {
    switch name {
    case "torch.QInt8Storage": .int8
    case "torch.QUInt8Storage": .uint8
    case "torch.QInt32Storage": .int32
    default: nil
    }
  }

  /// Returns the name in the module `torch`, or `nil` for the 6-bit types, which PyTorch lacks.
  static func dtype(of elementType: ElementType) -> String? {
    switch elementType {
    case .float4E2M1: "float4_e2m1fn_x2"
    case .float6E2M3, .float6E3M2: nil
    default: elementType.rawValue
    }
  }

  /// Returns the element type of a dtype such as `torch.float8_e5m2`.
  static func elementType(ofDtype name: String) -> ElementType? {
    guard name.hasPrefix("torch.") else { return nil }
    let dtype = name.dropFirst("torch.".count)
    return ElementType.allCases.first { self.dtype(of: $0).map { $0 == dtype } ?? false }
  }
}

/// The Python 2 names of modules and builtins, which pickles of protocols 0 to 2 use.
enum PickleNames {
  /// Returns the dotted name of a global in Python 3, as CPython's `_compat_pickle` maps it.
  static func python3(module: String, name: String) -> String {
    if let mapped = names["\(module).\(name)"] { return mapped }
    return "\(modules[module] ?? module).\(name)"
  }

  private static let names = [
    "__builtin__.xrange": "builtins.range", "__builtin__.reduce": "functools.reduce",
    "__builtin__.intern": "sys.intern", "__builtin__.unichr": "builtins.chr",
    "__builtin__.unicode": "builtins.str", "__builtin__.long": "builtins.int",
    "itertools.izip": "builtins.zip", "itertools.imap": "builtins.map",
    "itertools.ifilter": "builtins.filter", "exceptions.StandardError": "builtins.Exception",
    "UserDict.UserDict": "collections.UserDict", "UserList.UserList": "collections.UserList",
    "UserString.UserString": "collections.UserString", "urllib.urlopen": "urllib.request.urlopen",
    "urllib.urlretrieve": "urllib.request.urlretrieve", "socket.fromfd": "socket.fromfd",
    "_multiprocessing.Connection": "multiprocessing.connection.Connection",
    "whichdb.whichdb": "dbm.whichdb",
  ]

  private static let modules = [
    "__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins",
    "Queue": "queue", "SocketServer": "socketserver", "ConfigParser": "configparser",
    "repr": "reprlib", "FileDialog": "tkinter.filedialog", "tkFileDialog": "tkinter.filedialog",
    "SimpleDialog": "tkinter.simpledialog", "tkSimpleDialog": "tkinter.simpledialog",
    "tkColorChooser": "tkinter.colorchooser", "tkCommonDialog": "tkinter.commondialog",
    "Dialog": "tkinter.dialog", "Tkinter": "tkinter", "Tix": "tkinter.tix",
    "ttk": "tkinter.ttk", "Tkconstants": "tkinter.constants",
    "ScrolledText": "tkinter.scrolledtext",
    "turtle": "turtle", "markupbase": "_markupbase", "_winreg": "winreg", "thread": "_thread",
    "dummy_thread": "_dummy_thread", "dbhash": "dbm.bsd", "dumbdbm": "dbm.dumb",
    "dbm": "dbm.ndbm", "gdbm": "dbm.gnu", "anydbm": "dbm", "whichdb": "dbm",
    "xmlrpclib": "xmlrpc.client", "SimpleXMLRPCServer": "xmlrpc.server",
    "DocXMLRPCServer": "xmlrpc.server", "httplib": "http.client",
    "BaseHTTPServer": "http.server", "SimpleHTTPServer": "http.server",
    "CGIHTTPServer": "http.server", "Cookie": "http.cookies", "cookielib": "http.cookiejar",
    "HTMLParser": "html.parser", "htmlentitydefs": "html.entities", "commands": "subprocess",
    "UserDict": "collections", "UserList": "collections", "UserString": "collections",
    "urllib2": "urllib.request", "urlparse": "urllib.parse", "robotparser": "urllib.robotparser",
    "StringIO": "io", "cStringIO": "io", "cPickle": "pickle", "cProfile": "cProfile",
    "_elementtree": "xml.etree.ElementTree", "test.test_support": "test.support",
    "_abcoll": "collections.abc",
  ]
}
