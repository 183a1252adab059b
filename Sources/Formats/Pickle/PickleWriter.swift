import Storage

/// Writes one pickle of protocol 2, the only protocol that `torch.load(weights_only=True)` reads.
struct PickleWriter {
  private var bytes: [UInt8] = [PickleOpcode.proto.rawValue, 2]
  /// Memo indices of globals and of recurring strings.
  private var memo: [Recurring: Int] = [:]

  private enum Recurring: Hashable {
    case global(String)
    case text(String)
  }

  init() {}

  /// Returns the whole pickle.
  func finish() -> [UInt8] { bytes + [PickleOpcode.stop.rawValue] }

  mutating func write(_ opcode: PickleOpcode) { bytes.append(opcode.rawValue) }

  mutating func write(_ value: ArchiveValue) throws {
    switch value {
    case .none: write(PickleOpcode.none)
    case .boolean(let flag): write(flag ? .newTrue : .newFalse)
    case .integer(let number): write(number)
    case .largeInteger(let digits):
      let complement = try PickleInteger.twosComplement(decimal: digits)
      guard let count = UInt8(exactly: complement.count) else {
        throw ModelError.unsupported("integers of more than 255 bytes are not supported")
      }
      write(.long1)
      bytes.append(count)
      bytes += complement
    case .real(let number): write(number)
    case .complex(let real, let imaginary):
      writeGlobal("__builtin__", "complex")
      write(real)
      write(imaginary)
      write(.tuple2)
      write(.reduce)
    case .text(let text): try write(text)
    case .bytes(let content):
      writeGlobal("_codecs", "encode")
      var scalars = String.UnicodeScalarView()
      scalars.append(contentsOf: content.map { Unicode.Scalar($0) })
      try write(String(scalars))
      try writeRecurring("latin1")
      write(.tuple2)
      write(.reduce)
    }
  }

  mutating func write(_ number: Int) {
    if let byte = UInt8(exactly: number) {
      write(.binInt1)
      bytes.append(byte)
    } else if let short = UInt16(exactly: number) {
      write(.binInt2)
      append(short)
    } else if let word = Int32(exactly: number) {
      write(.binInt)
      append(word)
    } else {
      write(.long1)
      bytes.append(8)
      append(number)
    }
  }

  private mutating func write(_ number: Double) {
    write(.binFloat)
    append(number.bitPattern.byteSwapped)
  }

  mutating func write(_ text: String) throws {
    let content = Array(text.utf8)
    guard let count = UInt32(exactly: content.count) else {
      throw ModelError.unsupported("texts of 4 GiB or more are not supported")
    }
    write(.binUnicode)
    append(count)
    bytes += content
  }

  /// Writes a string once and refers to it afterwards.
  mutating func writeRecurring(_ text: String) throws {
    guard !recall(.text(text)) else { return }
    try write(text)
    remember(.text(text))
  }

  mutating func writeGlobal(_ module: String, _ name: String) {
    let key = Recurring.global("\(module).\(name)")
    guard !recall(key) else { return }
    write(.global)
    bytes += Array("\(module)\n\(name)\n".utf8)
    remember(key)
  }

  mutating func writeIntegers(_ numbers: [Int]) {
    write(.mark)
    for number in numbers { write(number) }
    write(.tuple)
  }

  private mutating func recall(_ key: Recurring) -> Bool {
    guard let index = memo[key] else { return false }
    write(.binGet)
    bytes.append(UInt8(index))
    return true
  }

  private mutating func remember(_ key: Recurring) {
    // One byte suffices for all globals and strings that recur; any beyond that are written anew.
    guard let index = UInt8(exactly: memo.count) else { return }
    memo[key] = Int(index)
    write(.binPut)
    bytes.append(index)
  }

  private mutating func append<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }
}
