/// Reads one pickle into a `PickleGraph` without executing anything.
///
/// A pickle is a program for a stack machine whose calls build Python objects. Here the stack holds
/// references to nodes and a call makes a node. All opcodes of protocols 0 to 5 are known.
///
/// Reading takes every class and function for what it is, a name, but refuses a pickle that would
/// run programs or code when Python loads it, and what reaches outside the pickle (extension codes,
/// out-of-band buffers). Auditing refuses nothing that Python would accept, and records all that the
/// pickle would make Python do.
struct PickleMachine {
  /// Pickles inside archives that are longer than this are refused; the tensors' bytes are not in
  /// them.
  static let byteLimit = 1 << 28
  static let nodeLimit = 1 << 24
  /// Longest integer, in bytes or in digits.
  static let integerLimit = 1024

  private(set) var reader: ByteReader
  let isAuditing: Bool
  /// What the pickle would make Python do; filled while auditing.
  var events: [PickleEvent] = []
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
  /// - Throws: `FormatError` at the offending opcode.
  static func read(
    from reader: inout ByteReader, byteLimit: Int = PickleMachine.byteLimit
  ) throws -> PickleGraph {
    guard reader.remaining <= byteLimit else {
      throw FormatError(
        .limitExceeded(what: "a pickle's bytes", limit: byteLimit, found: "\(reader.remaining)"),
        offset: reader.fileOffset)
    }
    var machine = PickleMachine(reader: reader, isAuditing: false)
    let root = try machine.run()
    reader = machine.reader
    return PickleGraph(nodes: machine.nodes, positions: machine.positions, root: root)
  }

  /// Records what the pickle that `reader` stands at would make Python do, and leaves `reader`
  /// behind it, or where it cannot be followed any further.
  static func record(from reader: inout ByteReader) -> PickleRecord {
    var machine = PickleMachine(reader: reader, isAuditing: true)
    defer { reader = machine.reader }
    var root: PickleGraph.Reference?
    var problem: FormatError?
    do {
      root = try machine.run()
    } catch let error as FormatError {
      problem = error
    } catch {
      problem = machine.failure("\(error)")
    }
    return PickleRecord(
      events: machine.events,
      graph: PickleGraph(nodes: machine.nodes, positions: machine.positions, root: root ?? 0),
      problem: problem)
  }

  private init(reader: ByteReader, isAuditing: Bool) {
    self.reader = reader
    self.isAuditing = isAuditing
  }

  /// - Returns: the object that the pickle makes.
  private mutating func run() throws -> PickleGraph.Reference {
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
    // Python takes the topmost object and forgets the others.
    guard isAuditing || stack.count == 1 && marks.isEmpty else {
      throw failure("the pickle ends with \(counted(stack.count, "object")) instead of one")
    }
    return try pop()
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
    // Python decodes lone surrogates as well.
    guard !isAuditing else {
      return String(decoding: try readBytes(count).array, as: UTF8.self)
    }
    return try reader.readUTF8(count, for: "a pickled text")
  }

  /// The bytes up to the next newline.
  mutating func readLine() throws -> [UInt8] {
    try reader.readLine(for: "a pickle opcode's argument").array
  }

  /// A line that is UTF-8.
  mutating func readTextLine() throws -> String {
    let line = try readLine()
    if isAuditing { return String(decoding: line, as: UTF8.self) }
    guard let text = String(validating: line, as: UTF8.self) else {
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

  /// The offset of the opcode that made a node.
  func position(of reference: PickleGraph.Reference) -> Int { positions[reference] }

  /// Changes a node in place; `body` returns `false` for a node it cannot change.
  mutating func change(
    _ reference: PickleGraph.Reference, _ body: (inout PickleGraph.Node) -> Bool,
    orFail message: String
  ) throws {
    // Python may find an attribute or a method for what is unknown here.
    guard body(&nodes[reference]) || isAuditing else { throw failure(message) }
  }

  /// Pushes the global `module.name`, under its Python 3 name.
  ///
  mutating func pushGlobal(module: String, name: String, by opcode: PickleOpcode) throws {
    let global = PickleNames.python3(module: module, name: name)
    if isAuditing {
      events.append(PickleEvent(.global(name: global), opcode: opcode, offset: position))
    }
    try push(.global(global))
  }
}
