/// The names that modules and builtins had in Python 2, which pickles of protocols 0 to 2 use.
enum PickleNames {
  /// The dotted name of a global in Python 3, as CPython's `_compat_pickle` maps it.
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
