import Formats
import Storage

/// The quantization of a weight, with the initial or the learned bounds.
package struct WeightQuantization: Hashable, Sendable {
  /// How codes are derived from weights while bounds are learned.
  package enum Rounding: Hashable, Sendable {
    /// Weights are rounded to nearest in every step; derivatives pass straight through to them.
    case nearest
    /// The codes, one per element, are fixed; only bounds are learned.
    case fixed([UInt8])
  }

  /// The weight's name in the checkpoint.
  package var name: String
  /// Which elements share a lower bound and a scale.
  package var layout: AffineLayout
  /// 1 to 8.
  package var bitWidth: Int
  /// One lower bound per cell of the layout.
  package var lower: [Float]
  /// One scale per cell of the layout, not negative.
  package var scale: [Float]
  package var rounding: Rounding

  package init(
    name: String, layout: AffineLayout, bitWidth: Int, lower: [Float], scale: [Float],
    rounding: Rounding = .nearest
  ) {
    self.name = name
    self.layout = layout
    self.bitWidth = bitWidth
    self.lower = lower
    self.scale = scale
    self.rounding = rounding
  }

  /// - Throws: `ModelError` when it does not match a weight of `elementCount` elements.
  func check(elementCount: Int) throws {
    func refuse(_ problem: String) -> ModelError {
      ModelError("the weight '\(name)' cannot be quantized: \(problem)")
    }
    guard layout.elementCount == elementCount else {
      throw refuse("it has \(counted(elementCount, "element")), the layout \(layout.elementCount)")
    }
    guard (1...8).contains(bitWidth) else { throw refuse("\(bitWidth) bits are not 1 to 8") }
    guard lower.count == layout.cellCount, scale.count == layout.cellCount else {
      throw refuse(
        "\(lower.count) lower bounds and \(scale.count) scales for \(layout.cellCount) cells")
    }
    guard lower.allSatisfy(\.isFinite), scale.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
      throw refuse("a bound is not finite or a scale negative")
    }
    if case .fixed(let codes) = rounding {
      guard codes.count == elementCount, codes.allSatisfy({ Int($0) < 1 << bitWidth }) else {
        throw refuse("its codes are not \(elementCount) numbers of \(bitWidth) bits")
      }
    }
  }
}
