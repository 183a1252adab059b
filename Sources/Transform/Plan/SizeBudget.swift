/// What the bit widths of a model's weights are chosen for.
public enum SizeBudget: Hashable, Sendable {
  /// The packed file has at most so many bytes.
  case byteCount(Int)
  /// `CompressionRatios.parameters` is at least this.
  case ratio(Double)
  /// `CompressionRatios.paper` is at least this.
  case paperRatio(Double)
  /// Codes, bounds and scales take at most so many bits a quantized weight.
  case bitsPerWeight(Double)
}

extension SizeBudget: CustomStringConvertible {
  public var description: String {
    switch self {
    case .byteCount(let count): "at most \(count) bytes"
    case .ratio(let ratio): "a parameters ratio of at least \(ratio)"
    case .paperRatio(let ratio): "a paper ratio of at least \(ratio)"
    case .bitsPerWeight(let bits): "at most \(bits) bits a weight"
    }
  }
}
