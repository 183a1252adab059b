import Testing

@testable import Formats
@testable import Storage

@Suite struct PickleMachineTests {
  private func graph(_ bytes: [UInt8]) throws -> PickleGraph {
    var reader = ByteReader(SharedBytes(bytes))
    return try PickleMachine.read(from: &reader)
  }

  private func value(_ bytes: [UInt8]) throws -> String {
    let graph = try graph(bytes)
    if case .bytes(let bytes) = graph.nodes[graph.root] { return "bytes(\(bytes.array))" }
    return "\(graph.nodes[graph.root])"
  }

  @Test(arguments: [
    (".", ""), ("N.", "none"), ("I01\n.", "boolean(true)"), ("I00\n.", "boolean(false)"),
    ("I-12\n.", "integer(-12)"), ("L5L\n.", "integer(5)"),
    ("L123456789012345678901L\n.", "largeInteger(\"123456789012345678901\")"),
    ("F-1.5e3\n.", "real(-1500.0)"), ("S'a\\n\\x41\\''\n.", "text(\"a\\nA\\'\")"),
    ("Va\\u00e9\\U0001f600\n.", "text(\"aé😀\")"), ("(I1\nI2\nt.", "tuple([0, 1])"),
    ("(lI1\na.", "list([1])"), ("S'\\157s\\q'\n.", "text(\"os\\\\q\")"),
    ("c__main__\nNet\n.", "global(\"__main__.Net\")"),
    ("(I1\nI2\nd.", "dictionary([Formats.PickleGraph.Item(key: 0, value: 1)])"),
    ("I1\np0\n0g0\n.", "integer(1)"), ("I1\n2\u{85}.", ""),
  ])
  func protocolZeroIsRead(pickle: String, expected: String) throws {
    let bytes = pickle.unicodeScalars.map { UInt8($0.value) }
    if expected.isEmpty {
      #expect(throws: ModelError.self) { try value(bytes) }
    } else {
      #expect(try value(bytes) == expected)
    }
  }

  /// Names are data, and so are calls that are harmless because they are not executed.
  @Test(arguments: [
    "cos\nsystem\n.", "c__builtin__\ngetattr\n(ctorch._C\n_VariableFunctionsClass\nVrelu\ntR.",
    "coperator\nattrgetter\n(Vx\ntR.", "csignal\nSignals\n(I2\ntR.", "cposixpath\njoin\n.",
    "cfunctools\npartial\n(cposixpath\njoin\ntR.",
    "ccloudpickle.cloudpickle\n_make_skeleton_class\n(c__builtin__\ntype\nVNet\ntR(tR.",
  ])
  func harmlessPicklesAreRead(pickle: String) throws {
    let graph = try graph(Array(pickle.utf8))
    switch graph.nodes[graph.root] {
    case .global, .object: break
    default: Issue.record("the root is neither a name nor a call")
    }
  }

  @Test func laterProtocolOpcodesAreRead() throws {
    // PROTO 4, FRAME, SHORT_BINUNICODE, MEMOIZE, BINGET, TUPLE2
    let bytes: [UInt8] = [
      0x80, 4, 0x95, 9, 0, 0, 0, 0, 0, 0, 0, 0x8C, 2, 0x68, 0x69, 0x94, 0x68, 0, 0x86, 0x2E,
    ]
    #expect(try value(bytes) == "tuple([0, 0])")
    // LONG1 of nine bytes; BYTEARRAY8; EMPTY_SET with ADDITEMS; FROZENSET
    #expect(
      try value([0x8A, 9, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0x2E])
        == "largeInteger(\"9223372036854775808\")")
    #expect(try value([0x8A, 9] + [UInt8](repeating: 255, count: 9) + [0x2E]) == "integer(-1)")
    #expect(try value([0x8A, 0, 0x2E]) == "integer(0)")
    #expect(try value([0x96, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0x2E]) == "bytes([7])")
    #expect(try value([0x8F, 0x28, 0x4B, 3, 0x90, 0x2E]) == "set([1])")
    #expect(try value([0x28, 0x4B, 3, 0x91, 0x2E]) == "set([0])")
  }

  @Test func callsBecomeObjectNodes() throws {
    let bytes = Array("ccollections\nOrderedDict\n)R}b.".utf8)
    let graph = try graph(bytes)
    guard case .object(let object) = graph.nodes[graph.root] else {
      Issue.record("the root is no object")
      return
    }
    guard case .global("collections.OrderedDict") = graph.nodes[object.callee] else {
      Issue.record("the callee is another one")
      return
    }
    #expect(object.state == 3)
    #expect(graph.positions == [0, 25, 26, 27])
  }

  @Test(arguments: [
    ("cos\nsystem\n(tR.", "the global 'os.system' is refused", 0),
    ("(S'id'\nios\nsystem\n.", "the global 'os.system' is refused", 7),
    ("S'os'\nS'system'\n\u{93}(tR.", "the global 'os.system' is refused", 16),
    ("c__builtin__\neval\n(tR.", "the global 'builtins.eval' is refused", 0),
    ("ccommands\ngetoutput\n(tR.", "the global 'subprocess.getoutput' is refused", 0),
    ("S'numpy'\nS'os.system'\n\u{93}(tR.", "the global 'numpy.os.system' is refused", 22),
    ("csubprocess\nPopen\n(tR.", "the global 'subprocess.Popen' is refused", 0),
    // Functions that call their arguments, and computed names, must not get a harmful one.
    ("c__builtin__\nmap\n(cos\nsystem\n(ltR.", "the global 'os.system' is refused", 18),
    ("cfunctools\npartial\n(cos\nsystem\ntR(tR.", "the global 'os.system' is refused", 20),
    ("NN\u{93}.", "the pickle names a global by something that is not text", 2),
    ("N\u{82}\u{01}.", "extension code 1 is refused", 1),
    ("N0\u{97}.", "out-of-band pickle buffers are not supported", 2),
    ("N)R.", "the pickle calls something that is not a global", 2),
    ("NNa.", "the pickle appends to something that is not a list", 2),
    ("NNNs.", "the pickle sets items of something that is not a dictionary", 3),
    ("N\u{FF}.", "unknown pickle opcode 255", 1),
    ("(0NN.", "the pickle ends with 2 objects instead of one", 4),
    ("N(0s.", "the pickle's stack is empty", 3),
    ("(N(\u{86}.", "the pickle's stack is empty", 3),
    ("t.", "the pickle's stack has no mark", 0),
    ("(Nu.", "the pickle sets a key without a value", 2),
    ("g5\n.", "the pickle refers to object 5, which it has not made", 0),
    ("\u{80}\u{06}N.", "unknown pickle protocol 6", 0),
    ("Iabc\n.", "'abc' is not an integer", 0),
    ("N", "expected 1 byte for a pickle opcode, found 0", 1),
  ])
  func harmfulAndMalformedPicklesAreRefused(pickle: String, message: String, offset: Int) throws {
    let bytes = pickle.unicodeScalars.map { UInt8($0.value) }
    let error = #expect(throws: ModelError.self) { try graph(bytes) }
    #expect(error?.problem.description == message)
    #expect(error?.offset == offset)
  }

  @Test func integersRoundTrip() throws {
    for text in [
      "0", "127", "128", "-128", "-129", "255", "9223372036854775807", "9223372036854775808",
      "-9223372036854775808", "-9223372036854775809", "1180591620717411303424",
      "-1180591620717411303424",
      "115792089237316195423570985008687907853269984665640564039457584007913129639935",
    ] {
      let bytes = try PickleInteger.twosComplement(decimal: text)
      switch PickleInteger.node(littleEndian: bytes) {
      case .integer(let value): #expect("\(value)" == text)
      case .largeInteger(let digits): #expect(digits == text)
      default: Issue.record("\(text)")
      }
    }
    #expect(try PickleInteger.twosComplement(decimal: "128") == [128, 0])
    #expect(try PickleInteger.twosComplement(decimal: "-128") == [128])
  }
}
