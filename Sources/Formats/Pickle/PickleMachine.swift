import Storage

/// Reads one pickle into a `PickleGraph` without executing anything.
///
/// A pickle is a program for a stack machine whose calls build Python objects. Here the stack holds
/// references to nodes, and a call makes a node. The machine knows all opcodes of protocols 0 to 5.
///
/// Reading treats every class and function as a mere name. It refuses a pickle that would run
/// programs or code when Python loads it, or that reaches outside the pickle (extension codes,
/// out-of-band buffers). Auditing refuses nothing that Python would accept, and records everything
/// that the pickle would make Python do.
struct PickleMachine {
  /// The most bytes of a pickle inside an archive; they do not include the tensors' bytes.
  static let byteLimit = 1 << 28
  static let nodeLimit = 1 << 24
  /// The longest integer, in bytes or in digits.
  static let integerLimit = 1024

  private(set) var reader: ByteReader
  let isAuditing: Bool
  /// The recorded effects of the pickle; filled only while auditing.
  var events: [PickleEvent] = []
  private var nodes: [PickleGraph.Node] = []
  private var positions: [Int] = []
  private var stack: [PickleGraph.Reference] = []
  /// The stack heights at the marks.
  private var marks: [Int] = []
  private var memo: [Int: PickleGraph.Reference] = [:]
  /// The offset of the current opcode.
  private(set) var position = 0

  /// Reads the pickle at `reader`, and advances `reader` past it.
  ///
  /// - Throws: `ModelError` at the offending opcode.
  static func read(
    from reader: inout ByteReader, byteLimit: Int = PickleMachine.byteLimit
  ) throws -> PickleGraph {
    guard reader.remaining <= byteLimit else {
      throw ModelError(
        .limitExceeded(what: "a pickle's bytes", limit: byteLimit, found: "\(reader.remaining)"),
        offset: reader.fileOffset)
    }
    var machine = PickleMachine(reader: reader, isAuditing: false)
    let root = try machine.run()
    reader = machine.reader
    return PickleGraph(nodes: machine.nodes, positions: machine.positions, root: root)
  }

  /// Records what the pickle at `reader` would make Python do, and advances `reader` past it, or to
  /// the point where it cannot be followed any further.
  static func record(from reader: inout ByteReader) -> PickleRecord {
    var machine = PickleMachine(reader: reader, isAuditing: true)
    defer { reader = machine.reader }
    var root: PickleGraph.Reference?
    var problem: ModelError?
    do {
      root = try machine.run()
    } catch let error as ModelError {
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

  /// Executes the pickle.
  ///
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
      } catch let error as ModelError {
        throw error.located(offset: position)
      }
    }
    // Python takes the topmost object and ignores the others.
    guard isAuditing || stack.count == 1 && marks.isEmpty else {
      throw failure("the pickle ends with \(counted(stack.count, "object")) instead of one")
    }
    return try pop()
  }

  func failure(_ message: String) -> ModelError {
    ModelError.malformed(message, offset: position)
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
    // Python also decodes lone surrogates.
    guard !isAuditing else {
      return String(decoding: try readBytes(count).array, as: UTF8.self)
    }
    return try reader.readUTF8(count, for: "a pickled text")
  }

  /// Reads the bytes up to the next newline.
  mutating func readLine() throws -> [UInt8] {
    try reader.readLine(for: "a pickle opcode's argument").array
  }

  /// Reads a line of UTF-8.
  mutating func readTextLine() throws -> String {
    let line = try readLine()
    if isAuditing { return String(decoding: line, as: UTF8.self) }
    guard let text = String(validating: line, as: UTF8.self) else {
      throw failure("a pickled line is not valid UTF-8")
    }
    return text
  }

  // MARK: Stack

  /// Adds `node` to the graph without pushing it.
  mutating func make(_ node: PickleGraph.Node) throws -> PickleGraph.Reference {
    guard nodes.count < Self.nodeLimit else {
      throw ModelError(
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

  /// Whether the topmost item on the stack is a mark.
  var isAtMark: Bool { marks.last == stack.count }

  /// Pops everything above the topmost mark, and the mark itself.
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

  /// Returns the offset of the opcode that made a node.
  func position(of reference: PickleGraph.Reference) -> Int { positions[reference] }

  /// Changes a node in place; `body` returns `false` for a node that it cannot change.
  mutating func change(
    _ reference: PickleGraph.Reference, _ body: (inout PickleGraph.Node) -> Bool,
    orFail message: String
  ) throws {
    // Python may find an attribute or method on an object that is unknown here.
    guard body(&nodes[reference]) || isAuditing else { throw failure(message) }
  }

  /// Pushes the global `module.name`, under its Python 3 name.
  mutating func pushGlobal(module: String, name: String, by opcode: PickleOpcode) throws {
    let global = PickleNames.python3(module: module, name: name)
    if isAuditing {
      events.append(PickleEvent(.global(name: global), opcode: opcode, offset: position))
    }
    try push(.global(global))
  }
}

extension PickleMachine {
  /// Executes one opcode other than STOP.
  mutating func execute(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .stop: return
    case .proto:
      let version = try readInteger(UInt8.self)
      guard version <= 5 else { throw failure("unknown pickle protocol \(version)") }
    case .frame: _ = try readCount(UInt64.self)  // a hint for buffering

    case .none: try push(.none)
    case .newTrue: try push(.boolean(true))
    case .newFalse: try push(.boolean(false))
    case .int, .long, .binInt, .binInt1, .binInt2, .long1, .long4, .float, .binFloat:
      try executeNumber(opcode)
    case .string, .binString, .shortBinString, .unicode, .binUnicode, .shortBinUnicode,
      .binUnicode8, .binBytes, .shortBinBytes, .binBytes8, .byteArray8:
      try executeText(opcode)
    case .emptyTuple, .tuple, .tuple1, .tuple2, .tuple3, .emptyList, .list, .emptyDict, .dict,
      .emptySet, .frozenSet, .append, .appends, .setItem, .setItems, .addItems:
      try executeContainer(opcode)
    case .global, .stackGlobal, .inst, .obj, .reduce, .newObj, .newObjEx, .build, .persID,
      .binPersID:
      try executeObject(opcode)

    case .mark: mark()
    case .dup: push(try top())
    case .pop: if isAtMark { _ = try popToMark() } else { _ = try pop() }
    case .popMark: _ = try popToMark()
    case .put: try remember(at: try readIndexLine())
    case .binPut: try remember(at: Int(try readInteger(UInt8.self)))
    case .longBinPut: try remember(at: Int(try readInteger(UInt32.self)))
    case .memoize: try remember(at: nil)
    case .get: try recall(try readIndexLine())
    case .binGet: try recall(Int(try readInteger(UInt8.self)))
    case .longBinGet: try recall(Int(try readInteger(UInt32.self)))

    case .ext1: try pushExtension(Int(try readInteger(UInt8.self)), by: opcode)
    case .ext2: try pushExtension(Int(try readInteger(UInt16.self)), by: opcode)
    case .ext4: try pushExtension(Int(try readInteger(Int32.self)), by: opcode)
    case .nextBuffer:
      guard isAuditing else {
        throw ModelError.unsupported("out-of-band pickle buffers are not supported")
      }
      try push(.bytes(SharedBytes()))
    case .readOnlyBuffer:
      guard isAuditing else {
        throw ModelError.unsupported("out-of-band pickle buffers are not supported")
      }
    }
  }

  private mutating func executeNumber(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .int:
      let line = try readTextLine()
      // Protocol 0 has no separate opcodes for Booleans.
      switch line {
      case "00": try push(.boolean(false))
      case "01": try push(.boolean(true))
      default: try pushDecimal(line)
      }
    case .long:
      let line = try readTextLine()
      try pushDecimal(line.hasSuffix("L") ? "\(line.dropLast())" : line)
    case .binInt: try push(.integer(Int(try readInteger(Int32.self))))
    case .binInt1: try push(.integer(Int(try readInteger(UInt8.self))))
    case .binInt2: try push(.integer(Int(try readInteger(UInt16.self))))
    case .long1: try pushLong(byteCount: Int(try readInteger(UInt8.self)))
    case .long4: try pushLong(byteCount: try readCount(UInt32.self))
    case .float:
      let line = try readTextLine()
      let value = Double(line)
      guard value != nil || isAuditing else {
        throw failure("'\(line)' is not a floating-point number")
      }
      try push(.real(value ?? .nan))
    default:  // BINFLOAT, big-endian
      try push(.real(Double(bitPattern: try readInteger(UInt64.self).byteSwapped)))
    }
  }

  private mutating func pushDecimal(_ text: String) throws {
    do {
      try push(try PickleInteger.node(decimal: text))
    } catch let error as ModelError {
      // Python also accepts hexadecimal digits, underscores and white space.
      guard isAuditing else { throw error }
      try push(.integer(0))
    }
  }

  private mutating func pushLong(byteCount: Int) throws {
    guard byteCount <= Self.integerLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the bytes of a pickled integer", limit: Self.integerLimit, found: "\(byteCount)"))
    }
    try push(PickleInteger.node(littleEndian: try readBytes(byteCount).array))
  }

  private mutating func readIndexLine() throws -> Int {
    var line = try readTextLine()
    if isAuditing { line.removeAll { $0.isWhitespace || $0 == "_" } }
    guard let index = Int(line), index >= 0 else {
      throw failure("'\(line)' is not a memo index")
    }
    return index
  }

  private mutating func executeText(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .string: try pushString(SharedBytes(try PickleText.unquoting(try readLine())))
    case .binString:
      let count = try readInteger(Int32.self)
      guard count >= 0 else { throw failure("a pickled string has a negative length") }
      try pushString(try readBytes(Int(count)))
    case .shortBinString: try pushString(try readBytes(Int(try readInteger(UInt8.self))))
    case .unicode:
      let line = try readLine()
      try push(.text(try PickleText.unescaping(line, isLenient: isAuditing)))
    case .binUnicode: try push(.text(try readText(try readCount(UInt32.self))))
    case .shortBinUnicode: try push(.text(try readText(Int(try readInteger(UInt8.self)))))
    case .binUnicode8: try push(.text(try readText(try readCount(UInt64.self))))
    case .binBytes: try push(.bytes(try readBytes(try readCount(UInt32.self))))
    case .shortBinBytes: try push(.bytes(try readBytes(Int(try readInteger(UInt8.self)))))
    default:  // BINBYTES8, BYTEARRAY8
      try push(.bytes(try readBytes(try readCount(UInt64.self))))
    }
  }

  /// Pushes a Python 2 byte string, as text if it is valid UTF-8.
  private mutating func pushString(_ bytes: SharedBytes) throws {
    let text = bytes.withUnsafeBytes { String(validating: $0, as: UTF8.self) }
    try push(text.map { .text($0) } ?? .bytes(bytes))
  }

  private mutating func executeContainer(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .emptyTuple: try push(.tuple([]))
    case .tuple: try push(.tuple(try popToMark()))
    case .tuple1: try push(.tuple([try pop()]))
    case .tuple2:
      let second = try pop()
      try push(.tuple([try pop(), second]))
    case .tuple3:
      let third = try pop()
      let second = try pop()
      try push(.tuple([try pop(), second, third]))
    case .emptyList: try push(.list([]))
    case .list: try push(.list(try popToMark()))
    case .emptyDict: try push(.dictionary([]))
    case .dict: try push(.dictionary(try pairs(try popToMark())))
    case .emptySet: try push(.set([]))
    case .frozenSet: try push(.set(try popToMark()))
    case .append:
      let element = try pop()
      try add([element], to: try top(), isSet: false)
    case .appends:
      let elements = try popToMark()
      try add(elements, to: try top(), isSet: false)
    case .addItems:
      let elements = try popToMark()
      try add(elements, to: try top(), isSet: true)
    case .setItem:
      let value = try pop()
      let key = try pop()
      try setItems([PickleGraph.Item(key: key, value: value)], of: try top())
    default:  // SETITEMS
      let items = try pairs(try popToMark())
      try setItems(items, of: try top())
    }
  }

  private func pairs(_ references: [PickleGraph.Reference]) throws -> [PickleGraph.Item] {
    guard references.count.isMultiple(of: 2) || isAuditing else {
      throw failure("the pickle sets a key without a value")
    }
    return stride(from: 0, to: references.count - 1, by: 2).map {
      PickleGraph.Item(key: references[$0], value: references[$0 + 1])
    }
  }

  /// Adds elements to a list or set, or to the result of a call, which may be either.
  private mutating func add(
    _ elements: [PickleGraph.Reference], to target: PickleGraph.Reference, isSet: Bool
  ) throws {
    try change(
      target,
      { node in
        switch node {
        case .list(var present) where !isSet:
          node = .none  // so that the array is not copied
          present += elements
          node = .list(present)
        case .set(var present) where isSet:
          node = .none
          present += elements
          node = .set(present)
        case .object(var object):
          node = .none
          object.elements += elements
          node = .object(object)
        default: return false
        }
        return true
      },
      orFail: isSet
        ? "the pickle adds members to something that is not a set"
        : "the pickle appends to something that is not a list")
  }

  private mutating func setItems(
    _ items: [PickleGraph.Item], of target: PickleGraph.Reference
  ) throws {
    try change(
      target,
      { node in
        switch node {
        case .dictionary(var present):
          node = .none  // so that the array is not copied
          present += items
          node = .dictionary(present)
        case .object(var object):
          node = .none
          object.items += items
          node = .object(object)
        default: return false
        }
        return true
      }, orFail: "the pickle sets items of something that is not a dictionary")
  }
}
