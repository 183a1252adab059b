import Formats

/// How many groups the convolutions of a model have, which no checkpoint says.
///
/// A kernel with one input channel and several outputs is taken for a depthwise one, unless it seems to
/// be the first layer of a network of one channel. Any other kernel is taken for one group. What was
/// assumed is said.
struct ConvolutionGroups {
  /// The groups of one kernel, and what was assumed of them.
  struct Decision: Sendable {
    let count: Int
    /// What was assumed or given; `nil` for an ordinary convolution.
    let remark: String?
  }

  private let given: [(glob: NameGlob, count: Int)]
  /// Kernels in the order of the file.
  private let kernels: [(name: String, outputs: Int, inputs: Int)]
  /// Outputs of all weights, also once their channels are shuffled to pixels.
  private let outputs: Set<Int>

  /// - Throws: `FormatError` when a pattern matches no weight of four dimensions.
  init(_ archive: TensorArchive, given: [(glob: NameGlob, count: Int)]) throws {
    self.given = given
    var kernels: [(name: String, outputs: Int, inputs: Int)] = []
    var outputs: Set<Int> = []
    for (name, tensor) in archive.tensors {
      let dimensions = tensor.shape.dimensions
      guard dimensions.count == 2 || dimensions.count == 4, tensor.shape.elementCount > 0,
        tensor.elementType.isFloatingPoint
      else { continue }
      outputs.insert(dimensions[0])
      for side in 2...4 where dimensions[0].isMultiple(of: side * side) {
        outputs.insert(dimensions[0] / (side * side))
      }
      if dimensions.count == 4 { kernels.append((name, dimensions[0], dimensions[1])) }
    }
    self.kernels = kernels
    self.outputs = outputs
    for (glob, _) in given { _ = try kernels.map(\.name).matching([glob]) }
  }

  /// - Throws: `FormatError` when the groups that were given do not divide the outputs.
  func decision(on name: String, _ tensor: Tensor) throws -> Decision? {
    guard tensor.shape.rank == 4, tensor.shape.elementCount > 0 else { return nil }
    let (outputs, inputs) = (tensor.shape.dimensions[0], tensor.shape.dimensions[1])
    if let (_, count) = given.first(where: { $0.glob.matches(name) }) {
      guard outputs.isMultiple(of: count) else {
        throw FormatError.mismatch(
          expected: "groups that divide \(outputs) outputs", found: "\(count)", tensor: name)
      }
      return Decision(count: count, remark: count == 1 ? nil : "\(count) groups, as given")
    }
    guard inputs == 1, outputs > 1 else {
      return Decision(count: 1, remark: mayBeGrouped(name, inputs) ? Self.oneGroup(inputs) : nil)
    }
    if isFirstOfOneChannel(name) {
      return Decision(
        count: 1,
        remark: "its one input channel taken for the network's input; --groups says otherwise")
    }
    return Decision(
      count: outputs,
      remark: "\(outputs) groups, taken for depthwise as each kernel has one input channel; "
        + "--groups says otherwise")
  }

  private static func oneGroup(_ inputs: Int) -> String {
    "taken for one group, though no layer has its \(inputs) input channels as outputs; --groups says "
      + "otherwise"
  }

  /// Whether the inputs are no layer's outputs but a part of some, and not the network's input.
  private func mayBeGrouped(_ name: String, _ inputs: Int) -> Bool {
    guard !outputs.contains(inputs), kernels.first?.name != name, !Self.isFirst(name) else {
      return false
    }
    return outputs.contains { $0 > inputs && $0.isMultiple(of: inputs) }
  }

  /// Whether a kernel of one input channel seems to be a network's first: no other kernel takes
  /// channels that no layer gives, and the kernel's name or the network's output says so.
  private func isFirstOfOneChannel(_ name: String) -> Bool {
    let others = kernels.filter { $0.name != name }
    guard !others.contains(where: { $0.inputs > 1 && !outputs.contains($0.inputs) }) else {
      return false
    }
    if Self.isFirst(name) { return true }
    let inputs = Set(others.map(\.inputs))
    let givesOneChannel = others.contains { kernel in
      kernel.outputs == 1
        || (2...4).contains { kernel.outputs == $0 * $0 } && !inputs.contains(kernel.outputs)
    }
    return givesOneChannel && kernels.first { $0.inputs == 1 }?.name == name
  }

  private static let firstNames: Set<String> = [
    "conv_first", "head", "stem", "conv_in", "in_conv", "conv_input", "input_conv", "first",
    "first_conv", "shallow",
  ]

  /// Whether a layer's name says that it is a network's first.
  private static func isFirst(_ name: String) -> Bool {
    name.split(separator: ".").contains { firstNames.contains(String($0)) }
  }
}
