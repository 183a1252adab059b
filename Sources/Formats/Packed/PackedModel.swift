import OrderedCollections
import Storage

/// A packed file opened for reading, with a checked header and records that are read on demand.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// for entry in model.header.entries {
///   guard let tensor = try model.quantizedTensor(named: entry.name) else { continue }
///   print(entry.name, tensor.bitWidth, try tensor.unpackedCodes().prefix(8))
/// }
/// ```
public struct PackedModel: Sendable {
  /// The file's header, which describes its tensors.
  public let header: PackedHeader
  /// The header's JSON text as stored.
  package let headerText: String
  /// The file's length.
  public let fileByteCount: Int
  let prologue: PackedPrologue
  package let file: InputFile

  /// Reads the prologue and the header of `file` and checks them against each other and the file.
  /// No record is read.
  ///
  /// - Throws: `ModelError` when the file violates the format's rules.
  public init(parsing file: InputFile) throws {
    let prologue = try locatingErrors(path: file.path) { try PackedPrologue(parsing: file) }
    try self.init(parsing: file, prologue)
  }

  /// Reads the header at the place given by `prologue`, ignoring the file's first bytes.
  init(parsing file: InputFile, _ prologue: PackedPrologue) throws {
    self.file = file
    self.prologue = prologue
    fileByteCount = file.byteCount
    (header, headerText) = try locatingErrors(path: file.path) {
      let text = try Self.headerText(of: file, prologue)
      let json = try JSONDocument.parse(SharedBytes(text.utf8), maximumDepth: 64)
      let header = try PackedHeader(parsing: json)
      try Self.checkPlaces(of: header.entries, upTo: prologue.headerOffset)
      return (header, text)
    }
  }

  private static func headerText(of file: InputFile, _ prologue: PackedPrologue) throws -> String {
    let stored = try file.bytes(
      at: prologue.headerOffset, count: prologue.headerByteCount, purpose: "the header")
    let found = CRC32.checksum(stored)
    guard CRC32.isMatch(found, prologue.headerChecksum) else {
      throw ModelError(
        .checksumMismatch(expected: prologue.headerChecksum, found: found), entry: "header",
        offset: prologue.headerOffset)
    }
    let inflated = try Zlib.decompress(
      stored, byteCount: prologue.inflatedHeaderByteCount, purpose: "the header")
    var reader = ByteReader(inflated, baseOffset: prologue.headerOffset)
    return try reader.readUTF8(inflated.count, for: "the header")
  }

  /// Checks that every record lies exactly where the layout rule puts it, and the header right
  /// after.
  private static func checkPlaces(of entries: [PackedEntry], upTo headerOffset: Int) throws {
    var end = PackedPrologue.byteCount
    for entry in entries {
      let expected = PackedEntry.offset(after: end, byteCount: entry.byteCount)
      guard entry.offset == expected else {
        throw ModelError.mismatch(
          expected: "its record at byte \(expected)", found: "\(entry.offset)", tensor: entry.name)
      }
      guard entry.byteCount <= headerOffset - entry.offset else {
        throw ModelError(
          .truncated(
            expectedBytes: entry.byteCount, foundBytes: max(0, headerOffset - entry.offset),
            purpose: "its record"), tensor: entry.name, offset: entry.offset)
      }
      end = entry.offset + entry.byteCount
    }
    guard end == headerOffset else {
      throw ModelError.mismatch(
        expected: "the header at byte \(end)", found: "\(headerOffset)", offset: 16)
    }
  }

  /// Returns the tensor `name` in its logical type; quantized tensors are dequantized when loaded.
  ///
  /// - Returns: `nil` when there is no such name.
  public func tensor(named name: String) throws -> Tensor? {
    guard let entry = entry(named: name) else { return nil }
    return try tensor(named: name, in: storage(of: entry))
  }

  /// Returns the elements of `entry` in its logical type.
  func storage(of entry: PackedEntry) -> TensorStorage {
    // A parsed entry's element bytes are known not to overflow.
    let byteCount = entry.elementType.byteCount(forElements: entry.shape.elementCount) ?? 0
    return TensorStorage(byteCount: byteCount) {
      try locatingErrors(path: file.path, tensor: entry.name) {
        try entry.elements(of: record(of: entry))
      }
    }
  }

  func tensor(named name: String, in storage: TensorStorage) throws -> Tensor? {
    guard let entry = entry(named: name) else { return nil }
    guard entry.elementType.byteWidth != nil else {
      return try Tensor(elementType: entry.elementType, shape: entry.shape, load: storage.bytes)
    }
    var tensor = try Tensor(
      elementType: entry.elementType, shape: entry.shape, storage: storage, elementOffset: 0,
      strides: entry.shape.rowMajorStrides)
    if case .affine(let affine) = entry.encoding {
      tensor.quantized = { try quantizedTensor(of: entry, affine) }
    }
    return tensor
  }

  /// Returns the codes and parameters of `name`; `nil` for tensors that are not quantized.
  public func quantizedTensor(named name: String) throws -> QuantizedTensor? {
    guard let entry = entry(named: name), case .affine(let affine) = entry.encoding else {
      return nil
    }
    return try quantizedTensor(of: entry, affine)
  }

  private func quantizedTensor(of entry: PackedEntry, _ affine: AffineSpec) throws
    -> QuantizedTensor
  {
    try locatingErrors(path: file.path, tensor: entry.name) {
      try entry.quantizedTensor(of: record(of: entry), affine)
    }
  }

  /// Returns the entry that holds the bytes of `name`.
  public func entry(named name: String) -> PackedEntry? {
    header.names[name].map { header.entries[$0] }
  }

  /// Reads the bytes of a record and checks their checksum.
  func record(of entry: PackedEntry) throws -> SharedBytes {
    let bytes = try file.bytes(at: entry.offset, count: entry.byteCount, purpose: "its record")
    try Self.check(CRC32.checksum(bytes), of: entry)
    return bytes
  }

  /// Checks a record's checksum in pieces that stay in the processor's cache.
  func checkChecksum(of entry: PackedEntry) throws {
    let pieceByteCount = 1 << 18
    var checksum: UInt32 = 0
    for start in stride(from: 0, to: entry.byteCount, by: pieceByteCount) {
      let piece = try file.bytes(
        at: entry.offset + start, count: min(pieceByteCount, entry.byteCount - start),
        purpose: "its record")
      checksum = CRC32.checksum(piece, seed: checksum)
    }
    try Self.check(checksum, of: entry)
  }

  private static func check(_ checksum: UInt32, of entry: PackedEntry) throws {
    guard CRC32.isMatch(checksum, entry.checksum) else {
      throw ModelError(
        .checksumMismatch(expected: entry.checksum, found: checksum), tensor: entry.name,
        offset: entry.offset)
    }
  }

  /// Returns the bytes between the record at `index` and whatever precedes it, which must be zero.
  func padding(before index: Int) throws -> (offset: Int, bytes: SharedBytes) {
    let end =
      index == 0
      ? PackedPrologue.byteCount
      : header.entries[index - 1].offset + header.entries[index - 1].byteCount
    let count = header.entries[index].offset - end
    return (end, try file.bytes(at: end, count: count, purpose: "padding"))
  }
}

extension PackedSummary {
  /// Summarizes an opened file without reading any record.
  public init(_ model: PackedModel) {
    self.init(model.header, fileByteCount: model.fileByteCount)
  }

  /// - Parameter header: with every record's length.
  package init(_ header: PackedHeader, fileByteCount: Int) {
    var quantized = (tensors: 0, elements: 0, bytes: 0)
    let items = header.entries.map { entry in
      var bitWidth = entry.elementType.bitWidth
      if case .affine(let affine) = entry.encoding {
        bitWidth = affine.bitWidth
        quantized.tensors += 1
        quantized.elements += entry.shape.elementCount
        quantized.bytes += entry.byteCount
      }
      return CompressionRatios.Item(
        role: entry.role, elementCount: entry.shape.elementCount,
        originalBitWidth: entry.elementType.bitWidth, bitWidth: bitWidth)
    }
    let ratios = CompressionRatios(items)
    let payload = header.entries.reduce(0) { $0 + $1.byteCount }
    let tensorByteCount = header.names.values.reduce(0) { sum, index in
      let entry = header.entries[index]
      return sum + (entry.elementType.byteCount(forElements: entry.shape.elementCount) ?? 0)
    }
    producer = header.producer
    self.fileByteCount = fileByteCount
    payloadByteCount = payload
    fileToPayload = Double(fileByteCount) / Double(max(1, payload))
    self.tensorByteCount = tensorByteCount
    quantizedTensorCount = quantized.tensors
    quantizedElementCount = quantized.elements
    bitsPerWeight =
      quantized.elements > 0 ? Double(quantized.bytes) * 8 / Double(quantized.elements) : 0
    self.ratios = Ratios(
      paper: ratios.paper, parameters: ratios.parameters,
      file: header.source.map { Double($0.byteCount) / Double(fileByteCount) },
      tensors: Double(tensorByteCount) / Double(fileByteCount))
  }
}
