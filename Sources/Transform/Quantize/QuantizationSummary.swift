import Formats
import Foundation

/// What quantizing one tensor cost: of the values as they are read back, in the element type.
public struct QuantizationSummary: Hashable, Sendable, Codable {
  public var name: String
  public var elementType: String
  public var shape: [Int]
  /// Bits of a code.
  public var bitWidth: Int
  /// `tensor`, `channel` or `group:N`.
  public var granularity: String
  public var parts: Int
  public var search: BoundSearchMethod
  /// Bytes of codes and quantizer parameters.
  public var payloadByteCount: Int
  /// 10·log₁₀(Σ w² / Σ (w − Q(w))²) in decibels; `nil` when there is no error or no signal.
  public var signalToQuantizationNoise: Double?
  public var rootMeanSquareError: Double
  public var maximumError: Double
  /// The share, 0 to 1, of elements whose nearest code lies outside the range of codes.
  public var clippedShare: Double

  /// Compares `values` in Float32 with what `tensor` makes of them.
  ///
  /// - Throws: `FormatError` when the tensor cannot be decoded.
  init(
    name: String, values: [Float], tensor: QuantizedTensor, search: BoundSearchMethod
  ) throws {
    self.name = name
    elementType = tensor.elementType.rawValue
    shape = tensor.shape.dimensions
    bitWidth = tensor.bitWidth
    granularity = "\(tensor.layout.granularity)"
    parts = tensor.layout.parts
    self.search = search
    payloadByteCount =
      tensor.codes.count
      + QuantizedTensor.parameterByteCount(tensor.layout, tensor.parameterType)

    let decoded = try Tensor(
      elementType: tensor.elementType, shape: tensor.shape, bytes: tensor.dequantized()
    ).floatValues()
    var signal = 0.0
    var noise = 0.0
    var largest = 0.0
    for (value, restored) in zip(values, decoded) {
      let error = Double(value) - Double(restored)
      signal += Double(value) * Double(value)
      noise += error * error
      largest = max(largest, abs(error))
    }
    signalToQuantizationNoise =
      signal > 0 && noise > 0 ? 10 * log10(signal / noise) : nil
    rootMeanSquareError = (noise / Double(values.count)).squareRoot()
    maximumError = largest
    clippedShare = Double(Self.clippedCount(values, tensor)) / Double(values.count)
  }

  private static func clippedCount(_ values: [Float], _ tensor: QuantizedTensor) -> Int {
    var count = 0
    for cell in 0..<tensor.layout.cellCount {
      let code = tensor.code(ofCell: cell)
      guard code.scale > 0 else { continue }
      for element in tensor.layout.elements(ofCell: cell) {
        let nearest = ((values[element] - code.lower) / code.scale).rounded(.toNearestOrEven)
        if nearest < 0 || nearest > code.maximumCode { count += 1 }
      }
    }
    return count
  }
}
