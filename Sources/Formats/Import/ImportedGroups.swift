import Storage

/// The groups of inputs that share a scale, in checkpoints that may order inputs by their
/// activations (`g_idx`).
struct ImportedGroups: Sendable {
  /// The group of each input, if the checkpoint says it.
  private let order: Tensor?
  private let inputs: Int
  private let count: Int
  private let size: Int
  /// The tensor that errors name.
  private let name: String

  /// - Parameters:
  ///   - order: the groups of the inputs; `nil` if they are contiguous.
  ///   - size: the number of inputs of a contiguous group.
  ///   - name: the tensor of the codes.
  /// - Throws: `ModelError` when `order` does not have one integer per input.
  init(order: Tensor?, inputs: Int, count: Int, size: Int, name: String) throws {
    if let order, !order.elementType.isInteger || order.shape.dimensions != [inputs] {
      throw ModelError.mismatch(
        expected: "the groups of \(inputs) inputs", found: "\(order.elementType) \(order.shape)",
        tensor: name)
    }
    (self.order, self.inputs, self.count, self.size, self.name) = (order, inputs, count, size, name)
  }

  /// Returns the group of each input.
  func ofInputs() throws -> [Int] {
    var groups = (0..<inputs).map { $0 / size }
    for (input, group) in try (order?.doubleValues() ?? []).enumerated() {
      guard group != Double(groups[input]) else { continue }
      // Some programs write negative indices, which count groups from the end.
      let place = group < 0 ? group + Double(count) : group
      guard let index = Int(exactly: place), (0..<count).contains(index) else {
        throw ModelError.mismatch(
          expected: "a group of \(count)",
          found: "the group \(Self.text(group)) of input \(input)", tensor: name)
      }
      groups[input] = index
    }
    return groups
  }

  /// - Throws: `ModelError` when groups are not contiguous, as they are in packed files.
  func requireContiguous() throws {
    guard let order = try order?.doubleValues() else { return }
    for (input, group) in order.enumerated() where group != Double(input / size) {
      throw ModelError.unsupported(
        "inputs are ordered by their activations (desc_act): input \(input) is in group "
          + "\(Self.text(group)), but packed groups are contiguous", tensor: name)
    }
  }

  private static func text(_ group: Double) -> String {
    Int(exactly: group).map(String.init) ?? "\(group)"
  }
}

extension BitStream {
  /// Returns the codes of each column of a matrix of 32-bit words, one column after the other.
  ///
  /// - Parameter count: the codes of a column, which fill its words.
  static func unpackColumns(of words: Tensor, count: Int, bitWidth: Int) throws -> [UInt8] {
    let (rows, columns) = (words.shape.dimensions[0], words.shape.dimensions[1])
    let bytes = try words.bytes()
    return try unpackStreams(columns, wordCount: rows, count: count, bitWidth: bitWidth) {
      stream, word in
      bytes.withUnsafeBytes {
        $0.loadUnaligned(fromByteOffset: (word * columns + stream) * 4, as: UInt32.self)
      }
    }
  }

  /// Returns the codes of each row of a matrix of 32-bit words, one row after the other.
  ///
  /// - Parameter count: the codes of a row; the bits after them are ignored.
  static func unpackRows(of words: Tensor, count: Int, bitWidth: Int) throws -> [UInt8] {
    let (rows, columns) = (words.shape.dimensions[0], words.shape.dimensions[1])
    let bytes = try words.bytes()
    return try unpackStreams(rows, wordCount: columns, count: count, bitWidth: bitWidth) {
      stream, word in
      bytes.withUnsafeBytes {
        $0.loadUnaligned(fromByteOffset: (stream * columns + word) * 4, as: UInt32.self)
      }
    }
  }

  private static func unpackStreams(
    _ streams: Int, wordCount: Int, count: Int, bitWidth: Int, word: (Int, Int) -> UInt32
  ) throws -> [UInt8] {
    var codes: [UInt8] = []
    codes.reserveCapacity(streams * count)
    let needed = byteCount(count: count, bitWidth: bitWidth) ?? .max
    for stream in 0..<streams {
      let bytes = SharedBytes(count: wordCount * 4) { output in
        for index in 0..<wordCount {
          output.storeBytes(of: word(stream, index), toByteOffset: index * 4, as: UInt32.self)
        }
      }
      codes += try unpackCodes(
        bytes.slice(0..<min(needed, bytes.count)), count: count, bitWidth: bitWidth)
    }
    return codes
  }
}
