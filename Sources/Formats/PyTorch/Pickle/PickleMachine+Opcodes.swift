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

    case .ext1: try pushExtension(Int(try readInteger(UInt8.self)), by: opcode)
    case .ext2: try pushExtension(Int(try readInteger(UInt16.self)), by: opcode)
    case .ext4: try pushExtension(Int(try readInteger(Int32.self)), by: opcode)
    case .nextBuffer:
      guard isAuditing else {
        throw FormatError.unsupported("out-of-band pickle buffers are not supported")
      }
      try push(.bytes(SharedBytes()))
    case .readOnlyBuffer:
      guard isAuditing else {
        throw FormatError.unsupported("out-of-band pickle buffers are not supported")
      }
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
    } catch let error as FormatError {
      // Python also knows hexadecimal digits, underscores and white space.
      guard isAuditing else { throw error }
      try push(.integer(0))
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

  /// Python 2's string of bytes is a text where it can be.
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

  /// Adds to a list or to a set, or to what a call returned, which may be either.
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
        ? "the pickle adds members to something that is no set"
        : "the pickle appends to something that is no list")
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
}
