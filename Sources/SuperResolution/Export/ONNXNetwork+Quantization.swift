import CKernels
import Formats
import Storage

/// The quantizers of activations in ONNX's operators: what they make of a value is what the packed model
/// makes of it, with bounds that hold for all values as well as with those that follow them.
extension ONNXNetwork {
  /// Rounds a value with the quantizer of its site. Without a quantizer, the value stays as it is.
  ///
  /// - Parameters:
  ///   - axis: the axis of a row's elements; the last for groups.
  ///   - columns: the elements of a row.
  mutating func quantized(_ x: String, at site: Int?, axis: Int = -1, columns: Int) -> String {
    guard let site, let quantizer = quantizers[site] else { return x }
    let rounded = rounded(x, quantizer, axis: axis, columns: columns)
    return quantizer.isNormalized ? normalized(rounded, axis: axis) : rounded
  }

  /// Divides rows by their sums, where these are large enough.
  private mutating func normalized(_ x: String, axis: Int) -> String {
    let sum = add("ReduceSum", [x, integers([axis])], ["keepdims": .integer(1)])
    let isLarge = add("GreaterOrEqual", [sum, floats([CK_LEAST_ROW_MAGNITUDE], [])])
    return add("Div", [x, add("Where", [isLarge, sum, floats([1], [])])])
  }

  private mutating func rounded(
    _ x: String, _ quantizer: ActivationQuantizer, axis: Int, columns: Int
  ) -> String {
    switch quantizer.scaling {
    case .tensor:
      // ONNX's zero points are integers, so the lower bound is taken off before and put back.
      let step = (quantizer.upper - quantizer.lower) / levels(quantizer)
      let (lower, scale) = (floats([quantizer.lower], []), floats([max(step, Self.leastStep)], []))
      var codes = add("QuantizeLinear", [add("Sub", [x, lower]), scale, code(0)])
      // Codes end at 255 by themselves.
      if quantizer.bitWidth < 8 {
        codes = add("Clip", [codes, "", code(UInt8(levels(quantizer)))])
      }
      return add("Add", [add("DequantizeLinear", [codes, scale, code(0)]), lower])
    case .row:
      let largest = add(
        "ReduceMax", [add("Abs", [x]), integers([axis])], ["keepdims": .integer(1)])
      return rounded(
        x, lower: add("Mul", [largest, floats([quantizer.lower], [])]),
        upper: add("Mul", [largest, floats([quantizer.upper], [])]), quantizer)
    case .group(let size): return rounded(x, columns, inGroupsOf: size, quantizer)
    }
  }

  /// Rounds the result of a node, channels first or last, with the quantizer of its site.
  mutating func quantized(_ node: Int, _ order: Order, at site: Int?) -> String {
    guard let site, let quantizer = quantizers[site] else { return value(node, order) }
    let columns = graph.nodes[node].channels
    guard case .group = quantizer.scaling, order == .channelsFirst else {
      return quantized(value(node, order), at: site, axis: order.axis, columns: columns)
    }
    let rounded = quantized(value(node, .channelsLast), at: site, columns: columns)
    return add("Transpose", [rounded], ["perm": .integers([0, 3, 1, 2])])
  }

  /// Steps are at least this, so that none divides by zero.
  private static let leastStep = Float.leastNormalMagnitude

  private func levels(_ quantizer: ActivationQuantizer) -> Float {
    Float((1 << quantizer.bitWidth) - 1)
  }

  private mutating func rounded(
    _ x: String, lower: String, upper: String, _ quantizer: ActivationQuantizer
  ) -> String {
    let width = add("Sub", [upper, lower])
    let step = add("Div", [width, floats([levels(quantizer)], [])])
    return rounded(
      x, lower: lower, upper: upper, step: add("Max", [step, floats([Self.leastStep], [])]))
  }

  private mutating func rounded(
    _ x: String, lower: String, upper: String, step: String
  ) -> String {
    let clipped = add("Min", [add("Max", [x, lower]), upper])
    let codes = add("Round", [add("Div", [add("Sub", [clipped, lower]), step])])
    return add("Add", [add("Mul", [codes, step]), lower])
  }

  /// Rounds groups of values along the last axis, of which the last group may be shorter.
  private mutating func rounded(
    _ x: String, _ columns: Int, inGroupsOf size: Int, _ quantizer: ActivationQuantizer
  ) -> String {
    let begin = add(
      "Slice", [add("Shape", [x]), integers([0]), integers([-1]), integers([0])])
    var filled = x
    let whole = columns.roundedUp(toMultipleOf: size)
    if whole > columns {
      // What lacks to whole groups is the last value again, which is in the last group's range.
      filled = add(
        "Gather", [x, integers((0..<whole).map { min($0, columns - 1) })], ["axis": .integer(-1)])
    }
    let groups = add(
      "Reshape",
      [filled, add("Concat", [begin, integers([whole / size, size])], ["axis": .integer(0)])])
    let axes = integers([-1])
    let least = add("ReduceMin", [groups, axes], ["keepdims": .integer(1)])
    let greatest = add("ReduceMax", [groups, axes], ["keepdims": .integer(1)])
    let half = floats([0.5], [])
    let middle = add("Mul", [add("Add", [least, greatest]), half])
    let radius = add("Mul", [add("Sub", [greatest, least]), half])
    func bound(_ factor: Float, _ network: inout ONNXNetwork) -> String {
      network.add(
        "Add", [middle, network.add("Mul", [radius, network.floats([factor], [])])])
    }
    let result = rounded(
      groups, lower: bound(quantizer.lower, &self), upper: bound(quantizer.upper, &self), quantizer
    )
    let rows = add(
      "Reshape",
      [result, add("Concat", [begin, integers([whole])], ["axis": .integer(0)])])
    guard whole > columns else { return rows }
    return add("Slice", [rows, integers([0]), integers([columns]), integers([-1])])
  }
}
