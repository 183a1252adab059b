import Formats

/// Rounds one weight by its quantization, and propagates gradients back through the rounding.
///
///     Q(w) = lower + scale · round(clip((w − lower) / scale, 0, levels))
///
/// with the same bits as `AffineCode`. Rounding counts as the identity in derivatives. With t = (w
/// − lower) / scale and the code r:
///
///     ∂Q/∂w = 1 for 0 ≤ t ≤ levels, else 0
///     ∂Q/∂lower = 0 for 0 < t < levels, else 1
///     ∂Q/∂scale = r − t for 0 < t < levels, else r
///
/// (In terms of both bounds, with upper = lower + levels · scale, this matches `SiteQuantizer`.)
/// With fixed codes, Q = lower + scale · r for every w: derivatives 0, 1 and r.
struct WeightRounder: Sendable {
  let weight: ParameterReference
  let lower: ParameterReference
  let scale: ParameterReference
  let layout: AffineLayout
  let bitWidth: Int
  /// The fixed codes; `nil` to round to nearest.
  let codes: [UInt8]?

  /// Writes the rounded weight of `parameters` to the same place in `rounded`.
  func round(
    _ parameters: UnsafeBufferPointer<Float>, to rounded: UnsafeMutableBufferPointer<Float>
  ) {
    for cell in 0..<layout.cellCount {
      let code = code(cell, parameters)
      for element in layout.elements(ofCell: cell) {
        let index = weight.offset + element
        rounded[index] = code.decode(
          codes.map { Float($0[element]) } ?? code.encode(parameters[index]))
      }
    }
  }

  /// Returns the codes of all elements.
  func codes(_ parameters: [Float]) -> [UInt8] {
    if let codes { return codes }
    var found = [UInt8](repeating: 0, count: weight.count)
    parameters.withUnsafeBufferPointer { parameters in
      for cell in 0..<layout.cellCount {
        let code = code(cell, parameters)
        for element in layout.elements(ofCell: cell) {
          found[element] = UInt8(code.encode(parameters[weight.offset + element]))
        }
      }
    }
    return found
  }

  /// Turns the gradient of the rounded weight into that of the weight, in place, and adds those of
  /// lower bounds and scales.
  func differentiate(
    _ parameters: UnsafeBufferPointer<Float>, _ gradients: UnsafeMutableBufferPointer<Float>
  ) {
    for cell in 0..<layout.cellCount {
      let code = code(cell, parameters)
      var (lowerSum, scaleSum) = (0.0, 0.0)
      for element in layout.elements(ofCell: cell) {
        let index = weight.offset + element
        let gradient = gradients[index]
        if let codes {
          lowerSum += Double(gradient)
          scaleSum += Double(gradient * Float(codes[element]))
          gradients[index] = 0
          continue
        }
        let position = code.scale > 0 ? (parameters[index] - code.lower) / code.scale : 0
        let nearest = code.encode(parameters[index])
        if position > 0, position < code.maximumCode {
          scaleSum += Double(gradient * (nearest - position))
        } else {
          lowerSum += Double(gradient)
          scaleSum += Double(gradient * nearest)
        }
        if position < 0 || position > code.maximumCode || code.scale == 0 { gradients[index] = 0 }
      }
      gradients[lower.offset + cell] += Float(lowerSum)
      gradients[scale.offset + cell] += Float(scaleSum)
    }
  }

  private func code(_ cell: Int, _ parameters: UnsafeBufferPointer<Float>) -> AffineCode {
    AffineCode(
      lower: parameters[lower.offset + cell], scale: parameters[scale.offset + cell],
      bitWidth: bitWidth)
  }
}
