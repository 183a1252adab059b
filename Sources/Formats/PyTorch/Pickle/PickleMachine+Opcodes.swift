extension PickleMachine {
  /// Carries out one opcode other than STOP.
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

    case .ext1: throw failure("refuses extension code \(try readInteger(UInt8.self))")
    case .ext2: throw failure("refuses extension code \(try readInteger(UInt16.self))")
    case .ext4: throw failure("refuses extension code \(try readInteger(Int32.self))")
    case .nextBuffer, .readOnlyBuffer:
      throw FormatError.unsupported("out-of-band pickle buffers are not supported")
    }
  }

  private mutating func executeNumber(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .int:
      let line = try readTextLine()
      // Protocol 0 has no opcodes of their own for the truth values.
      switch line {
      case "00": try push(.boolean(false))
      case "01": try push(.boolean(true))
      default: try push(try PickleInteger.node(decimal: line))
      }
    case .long:
      let line = try readTextLine()
      try push(try PickleInteger.node(decimal: line.hasSuffix("L") ? "\(line.dropLast())" : line))
    case .binInt: try push(.integer(Int(try readInteger(Int32.self))))
    case .binInt1: try push(.integer(Int(try readInteger(UInt8.self))))
    case .binInt2: try push(.integer(Int(try readInteger(UInt16.self))))
    case .long1: try pushLong(byteCount: Int(try readInteger(UInt8.self)))
    case .long4: try pushLong(byteCount: try readCount(UInt32.self))
    case .float:
      let line = try readTextLine()
      guard let value = Double(line) else {
        throw failure("'\(line)' is not a floating-point number")
      }
      try push(.real(value))
    default:  // BINFLOAT, big-endian
      try push(.real(Double(bitPattern: try readInteger(UInt64.self).byteSwapped)))
    }
  }

  private mutating func pushLong(byteCount: Int) throws {
    guard byteCount <= Self.integerLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the bytes of a pickled integer", limit: Self.integerLimit, found: "\(byteCount)"))
    }
    try push(PickleInteger.node(littleEndian: try readBytes(byteCount).array))
  }

  private mutating func readIndexLine() throws -> Int {
    let line = try readTextLine()
    guard let index = Int(line), index >= 0 else {
      throw failure("'\(line)' is not a memo index")
    }
    return index
  }

  private mutating func executeText(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .string: try pushString(try PickleText.unquoting(try readLine()))
    case .binString:
      let count = try readInteger(Int32.self)
      guard count >= 0 else { throw failure("a pickled string has a negative length") }
      try pushString(try readBytes(Int(count)).array)
    case .shortBinString: try pushString(try readBytes(Int(try readInteger(UInt8.self))).array)
    case .unicode: try push(.text(try PickleText.unescaping(try readLine())))
    case .binUnicode: try push(.text(try readText(try readCount(UInt32.self))))
    case .shortBinUnicode: try push(.text(try readText(Int(try readInteger(UInt8.self)))))
    case .binUnicode8: try push(.text(try readText(try readCount(UInt64.self))))
    case .binBytes: try push(.bytes(try readBytes(try readCount(UInt32.self)).array))
    case .shortBinBytes: try push(.bytes(try readBytes(Int(try readInteger(UInt8.self))).array))
    default:  // BINBYTES8, BYTEARRAY8
      try push(.bytes(try readBytes(try readCount(UInt64.self)).array))
    }
  }

  /// Python 2's string of bytes is a text where it can be.
  private mutating func pushString(_ bytes: [UInt8]) throws {
    try push(String(validating: bytes, as: UTF8.self).map { .text($0) } ?? .bytes(bytes))
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
      try append([element], to: try top())
    case .appends:
      let elements = try popToMark()
      try append(elements, to: try top())
    case .addItems:
      let elements = try popToMark()
      let target = try top()
      try change(
        target,
        { node in
          guard case .set(var present) = node else { return false }
          node = .none  // so that the array is not copied
          present += elements
          node = .set(present)
          return true
        }, orFail: "the pickle adds members to something that is no set")
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
    guard references.count.isMultiple(of: 2) else {
      throw failure("the pickle sets a key without a value")
    }
    return stride(from: 0, to: references.count, by: 2).map {
      PickleGraph.Item(key: references[$0], value: references[$0 + 1])
    }
  }

  private mutating func append(
    _ elements: [PickleGraph.Reference], to target: PickleGraph.Reference
  ) throws {
    try change(
      target,
      { node in
        switch node {
        case .list(var present):
          node = .none  // so that the array is not copied
          present += elements
          node = .list(present)
        case .object(var object):
          node = .none
          object.elements += elements
          node = .object(object)
        default: return false
        }
        return true
      }, orFail: "the pickle appends to something that is no list")
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
      }, orFail: "the pickle sets items of something that is no dictionary")
  }

  private mutating func executeObject(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .global:
      let module = try readTextLine()
      try pushGlobal(module: module, name: try readTextLine())
    case .stackGlobal:
      guard case .text(let name) = node(try pop()), case .text(let module) = node(try pop()) else {
        throw failure("the pickle names a global by something that is no text")
      }
      try pushGlobal(module: module, name: name)
    case .inst:
      let module = try readTextLine()
      try pushGlobal(module: module, name: try readTextLine())
      let callee = try pop()
      try pushCall(of: callee, with: try make(.tuple(try popToMark())))
    case .obj:
      let parts = try popToMark()
      guard let callee = parts.first else { throw failure("the pickle makes an object of nothing") }
      try pushCall(of: callee, with: try make(.tuple(Array(parts.dropFirst()))))
    case .reduce, .newObj:
      let arguments = try pop()
      try pushCall(of: try pop(), with: arguments)
    case .newObjEx:
      let keywords = try pop()
      guard case .dictionary(let items) = node(keywords), items.isEmpty else {
        throw FormatError.unsupported("pickled calls with keyword arguments are not supported")
      }
      let arguments = try pop()
      try pushCall(of: try pop(), with: arguments)
    case .build:
      let state = try pop()
      let target = try top()
      try change(
        target,
        { node in
          guard case .object(var object) = node, object.state == nil else { return false }
          object.state = state
          node = .object(object)
          return true
        }, orFail: "the pickle sets the state of something that has none to set")
    case .persID: try push(.persistent(try make(.text(try readTextLine()))))
    default:  // BINPERSID
      let identifier = try pop()
      try push(.persistent(identifier))
    }
  }

  private mutating func pushCall(
    of callee: PickleGraph.Reference, with arguments: PickleGraph.Reference
  ) throws {
    guard case .global = node(callee) else {
      throw failure("the pickle calls something that is no global")
    }
    guard case .tuple = node(arguments) else {
      throw failure("the pickle calls with something that is no tuple")
    }
    try push(.object(PickleGraph.Object(callee: callee, arguments: arguments)))
  }
}
