/// What a packed file holds and how small it is, from its header alone.
public struct PackedSummary: Hashable, Sendable, Codable {
  /// Program and version that wrote the file.
  public let producer: String
  /// The length of the whole file.
  public let fileByteCount: Int
  /// Codes, quantizer parameters, and the records of all other tensors.
  public let payloadByteCount: Int
  /// `fileByteCount / payloadByteCount`: 1 would mean no header and no padding.
  public let fileToPayload: Double
  /// Bytes of all tensors before packing, each counted as often as it is named.
  public let tensorByteCount: Int
  /// Tensors stored as low-bit codes, shared ones once.
  public let quantizedTensorCount: Int
  /// Elements of those tensors.
  public let quantizedElementCount: Int
  /// Bits of codes, bounds and scales for each quantized weight; 0 when there is none.
  public let bitsPerWeight: Double
  /// How much smaller the model became, counted in four ways.
  public let ratios: Ratios

  /// Sizes before over sizes after; each counts something else.
  public struct Ratios: Hashable, Sendable, Codable {
    /// Parameters at their code width, without position tables and bounds, as the papers count.
    public let paper: Double
    /// The same with every parameter counted.
    public let parameters: Double
    /// The source file's bytes over this file's; `nil` when the source is not recorded.
    public let file: Double?
    /// The bytes of all tensors, buffers included, over this file's.
    public let tensors: Double
  }

  /// The summary of an opened file; no record is read.
  public init(_ model: PackedModel) {
    self.init(model.header, fileByteCount: model.fileByteCount)
  }

  /// - Parameter header: with every record's length.
  init(_ header: PackedHeader, fileByteCount: Int) {
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
