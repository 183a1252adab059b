/// Reads one pickle into a `PickleGraph` without executing anything.
///
/// A pickle is a program for a stack machine whose calls build Python objects. Here the stack holds
/// references to nodes and a call makes a node. All opcodes of protocols 0 to 5 are known; those
/// that reach outside the pickle (extension codes, out-of-band buffers) are refused.
struct PickleMachine {
  /// Pickles longer than this are refused; the tensors' bytes are not in them.
  static let byteLimit = 1 << 28
  static let nodeLimit = 1 << 24
  /// Longest integer, in bytes or in digits.
  static let integerLimit = 1024

  private(set) var reader: ByteReader
  private let allowedGlobals: Set<String>
  private var nodes: [PickleGraph.Node] = []
  private var positions: [Int] = []
  private var stack: [PickleGraph.Reference] = []
  /// The stack's heights at the marks.
  private var marks: [Int] = []
  private var memo: [Int: PickleGraph.Reference] = [:]
  /// Offset of the opcode under way.
  private(set) var position = 0

  /// Reads the pickle that `reader` stands at, and leaves `reader` behind it.
  ///
  /// - Parameter allowedGlobals: dotted names; any other global is refused.
  /// - Throws: `FormatError` at the offending opcode.
  static func read(
    from reader: inout ByteReader, allowing allowedGlobals: Set<String>
  ) throws -> PickleGraph {
    guard reader.remaining <= byteLimit else {
      throw FormatError(
        .limitExceeded(what: "a pickle's bytes", limit: byteLimit, found: "\(reader.remaining)"),
        offset: reader.fileOffset)
    }
    var machine = PickleMachine(reader: reader, allowedGlobals: allowedGlobals)
    let graph = try machine.run()
    reader = machine.reader
    return graph
  }

  private init(reader: ByteReader, allowedGlobals: Set<String>) {
    self.reader = reader
    self.allowedGlobals = allowedGlobals
  }

  private mutating func run() throws -> PickleGraph {
    while true {
      position = reader.fileOffset
      let byte = try reader.readInteger(UInt8.self, for: "a pickle opcode")
      guard let opcode = PickleOpcode(rawValue: byte) else {
        throw failure("unknown pickle opcode \(byte)")
      }
      if opcode == .stop { break }
      do {
        try execute(opcode)
      } catch let error as FormatError {
        throw error.located(offset: position)
      }
    }
    guard stack.count == 1, marks.isEmpty else {
      throw failure("the pickle ends with \(stack.count) objects instead of one")
    }
    return PickleGraph(nodes: nodes, positions: positions, root: stack[0])
  }

  func failure(_ message: String) -> FormatError {
    FormatError.malformed(message, offset: position)
  }

  // MARK: Opcode arguments

  mutating func readCount<Value: UnsignedInteger & FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type
  ) throws -> Int {
    try reader.readCount(type, for: "a pickle opcode's argument")
  }

  mutating func readInteger<Value: FixedWidthInteger & BitwiseCopyable>(
    _ type: Value.Type
  ) throws -> Value {
    try reader.readInteger(type, for: "a pickle opcode's argument")
  }

  mutating func readBytes(_ count: Int) throws -> SharedBytes {
    try reader.read(count, for: "a pickle opcode's argument")
  }

  mutating func readText(_ count: Int) throws -> String {
    try reader.readUTF8(count, for: "a pickled text")
  }

  /// The bytes up to the next newline.
  mutating func readLine() throws -> [UInt8] {
    try reader.readLine(for: "a pickle opcode's argument").array
  }

  /// A line that is UTF-8.
  mutating func readTextLine() throws -> String {
    guard let text = String(validating: try readLine(), as: UTF8.self) else {
      throw failure("a pickled line is not valid UTF-8")
    }
    return text
  }

  // MARK: Stack

  /// Makes a node of `node` without pushing it.
  mutating func make(_ node: PickleGraph.Node) throws -> PickleGraph.Reference {
    guard nodes.count < Self.nodeLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the number of pickled objects", limit: Self.nodeLimit, found: "more"),
        offset: position)
    }
    nodes.append(node)
    positions.append(position)
    return nodes.count - 1
  }

  mutating func push(_ node: PickleGraph.Node) throws {
    stack.append(try make(node))
  }

  mutating func push(_ reference: PickleGraph.Reference) {
    stack.append(reference)
  }

  mutating func pop() throws -> PickleGraph.Reference {
    guard stack.count > (marks.last ?? 0) else {
      throw failure("the pickle's stack is empty")
    }
    return stack.removeLast()
  }

  func top() throws -> PickleGraph.Reference {
    guard stack.count > (marks.last ?? 0), let top = stack.last else {
      throw failure("the pickle's stack is empty")
    }
    return top
  }

  mutating func mark() { marks.append(stack.count) }

  /// Whether the topmost thing on the stack is a mark.
  var isAtMark: Bool { marks.last == stack.count }

  /// Everything above the topmost mark, which is removed too.
  mutating func popToMark() throws -> [PickleGraph.Reference] {
    guard let height = marks.popLast() else {
      throw failure("the pickle's stack has no mark")
    }
    defer { stack.removeSubrange(height...) }
    return Array(stack[height...])
  }

  // MARK: Memo

  mutating func remember(at index: Int?) throws {
    memo[index ?? memo.count] = try top()
  }

  mutating func recall(_ index: Int) throws {
    guard let reference = memo[index] else {
      throw failure("the pickle refers to object \(index), which it has not made")
    }
    stack.append(reference)
  }

  // MARK: Nodes

  func node(_ reference: PickleGraph.Reference) -> PickleGraph.Node { nodes[reference] }

  /// Changes a node in place; `body` returns `false` for a node it cannot change.
  mutating func change(
    _ reference: PickleGraph.Reference, _ body: (inout PickleGraph.Node) -> Bool,
    orFail message: String
  ) throws {
    guard body(&nodes[reference]) else { throw failure(message) }
  }

  /// A reference to the global `module.name`, under its Python 3 name.
  mutating func pushGlobal(module: String, name: String) throws {
    // Python 3 writes its old names into protocols 0 to 2.
    let module = module == "__builtin__" ? "builtins" : module
    let dottedName = "\(module).\(name)"
    guard allowedGlobals.contains(dottedName) else {
      throw failure("refuses global '\(dottedName)'")
    }
    try push(.global(dottedName))
  }
}
