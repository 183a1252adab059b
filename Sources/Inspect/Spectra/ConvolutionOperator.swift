import Formats
import Glibc
import LinearAlgebra
import Storage

/// A convolution as a linear map of feature maps, with circular padding and stride 1.
///
/// The discrete Fourier transform over a grid of `height · width` positions makes it block
/// diagonal, with one complex `[out, in]` matrix per frequency. The singular values of all blocks
/// are exactly those of the operator `[out·height·width, in·height·width]`. Source: Sedghi, Gupta
/// and Long, "The singular values of convolutional layers", ICLR 2019, theorem 6.
package struct ConvolutionOperator: Hashable, Sendable {
  /// The number of output channels.
  package let outputs: Int
  /// The number of input channels in each group.
  package let inputs: Int
  /// The number of rows of the kernel.
  package let kernelHeight: Int
  /// The number of columns of the kernel.
  package let kernelWidth: Int
  /// The number of channel groups that do not mix, which make the operator block diagonal: 1 for an
  /// ordinary convolution, the number of channels for a depthwise one.
  package let groups: Int
  /// The weights `[outputs, inputs, kernelHeight, kernelWidth]`, row-major.
  package let weights: [Double]

  /// Creates the operator of a convolution with weights
  /// `[outputs, inputs, kernelHeight, kernelWidth]`.
  ///
  /// - Parameters:
  ///   - outputs: The number of output channels in all groups together.
  ///   - inputs: The number of input channels in one group.
  ///   - groups: The number of groups.
  /// - Precondition: The counts are positive and agree, and `groups` divides `outputs`.
  package init(
    outputs: Int, inputs: Int, kernelHeight: Int, kernelWidth: Int, groups: Int = 1,
    weights: [Double]
  ) {
    precondition(
      outputs > 0 && inputs > 0 && kernelHeight > 0 && kernelWidth > 0,
      "an empty convolution is not an operator")
    precondition(
      weights.count == outputs * inputs * kernelHeight * kernelWidth, "one weight per place")
    precondition(groups > 0 && outputs.isMultiple(of: groups), "groups have as many outputs each")
    self.outputs = outputs
    self.inputs = inputs
    self.kernelHeight = kernelHeight
    self.kernelWidth = kernelWidth
    self.groups = groups
    self.weights = weights
  }

  /// The size of the operator's feature maps in pixels.
  package struct Grid: Codable, Hashable, Sendable, CustomStringConvertible {
    /// The number of columns of the feature maps.
    package var width: Int
    /// The number of rows of the feature maps.
    package var height: Int

    package init(width: Int, height: Int) {
      self.width = width
      self.height = height
    }

    /// Parses a size such as `64x48`, width first; both numbers are from 1 to 1024.
    package init?(_ text: String) {
      let parts = text.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
      guard parts.count == 2, let width = parts[0], let height = parts[1],
        (1...1024).contains(width), (1...1024).contains(height)
      else { return nil }
      self.init(width: width, height: height)
    }

    package var description: String { "\(width)x\(height)" }
  }

  /// Returns all `height · width · min(outputs, groups · inputs)` singular values, largest first.
  ///
  /// A kernel larger than the grid wraps around it, as circular padding does.
  ///
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  package func singularValues(on grid: Grid) throws -> [Double] {
    // Checks the weights themselves: an error in a transformed matrix would name meaningless
    // indices.
    _ = try SingularValues(
      of: Matrix(
        rows: outputs, columns: weights.count / outputs,
        values: weights.map { $0.isFinite ? 0 : $0 }))
    var all: [Double] = []
    for v in 0..<grid.height {
      for u in 0..<grid.width {
        // Real weights give the opposite frequency the conjugate matrix, with equal singular
        // values.
        let opposite = (grid.height - v) % grid.height * grid.width + (grid.width - u) % grid.width
        let own = v * grid.width + u
        guard own <= opposite else { continue }
        let values = try singularValues(u: u, v: v, grid)
        all += values
        if own < opposite { all += values }
      }
    }
    return all.sorted(by: >)
  }

  /// Returns the singular values of the blocks of frequency (u, v), one block per group.
  private func singularValues(u: Int, v: Int, _ grid: Grid) throws -> [Double] {
    let (real, imaginary) = transformed(u: u, v: v, grid)
    let size = outputs / groups * inputs
    return try (0..<groups).flatMap { group in
      let range = group * size..<(group + 1) * size
      return try singularValues(real[range], imaginary[range])
    }
  }

  /// Returns the singular values of one block: those of the real matrix [[Re, −Im], [Im, Re]],
  /// which contains each twice. A block with one row or column has a single value, its norm.
  private func singularValues(
    _ real: ArraySlice<Double>, _ imaginary: ArraySlice<Double>
  ) throws -> [Double] {
    let rows = outputs / groups
    guard rows > 1, inputs > 1 else {
      let parts = Array(real) + Array(imaginary)
      let largest = parts.reduce(0) { max($0, $1.magnitude) }
      guard largest > 0 else { return [0] }
      return [largest * parts.reduce(0) { $0 + ($1 / largest) * ($1 / largest) }.squareRoot()]
    }
    var embedded = Matrix(
      rows: 2 * rows, columns: 2 * inputs,
      values: [Double](repeating: 0, count: 4 * rows * inputs))
    for output in 0..<rows {
      for input in 0..<inputs {
        let place = real.startIndex + output * inputs + input
        embedded[output, input] = real[place]
        embedded[output, inputs + input] = -imaginary[place]
        embedded[rows + output, input] = imaginary[place]
        embedded[rows + output, inputs + input] = real[place]
      }
    }
    let doubled = try SingularValues(of: embedded).values
    return stride(from: 0, to: doubled.count, by: 2).map { doubled[$0] }
  }

  /// Returns the transform of all kernels at one frequency. Kernels are so small compared with the
  /// grid that direct summation is cheaper than a fast transform of the padded grid.
  private func transformed(u: Int, v: Int, _ grid: Grid) -> (real: [Double], imaginary: [Double]) {
    let factors = (0..<kernelHeight * kernelWidth).map { tap in
      let turns =
        Double(tap / kernelWidth * v % grid.height) / Double(grid.height)
        + Double(tap % kernelWidth * u % grid.width) / Double(grid.width)
      return (cosine: cos(2 * .pi * turns), sine: -sin(2 * .pi * turns))
    }
    var real = [Double](repeating: 0, count: outputs * inputs)
    var imaginary = real
    for place in real.indices {
      for (tap, factor) in factors.enumerated() {
        let weight = weights[place * factors.count + tap]
        real[place] += weight * factor.cosine
        imaginary[place] += weight * factor.sine
      }
    }
    return (real, imaginary)
  }
}

/// The group counts of a model's convolutions, which checkpoints do not record.
///
/// A kernel with one input channel and several outputs is assumed to be depthwise, unless it
/// appears to be the first layer of a single-channel network. Any other kernel is assumed to have
/// one group. Reports state these assumptions.
struct ConvolutionGroups {
  /// The group count of one kernel and the assumption behind it.
  struct Decision: Sendable {
    let count: Int
    /// The assumption or the user's choice; `nil` for an ordinary convolution.
    let remark: String?
  }

  private let given: [(glob: NameGlob, count: Int)]
  /// The kernels in file order.
  private let kernels: [(name: String, outputs: Int, inputs: Int)]
  /// The output counts of all weights, including those after a pixel shuffle.
  private let outputs: Set<Int>

  /// Collects the kernels of `archive`.
  ///
  /// - Throws: `ModelError` if a pattern matches no four-dimensional weight.
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

  /// Returns the group count of a tensor, or `nil` if it is not a kernel.
  ///
  /// - Throws: `ModelError` if the given group count does not divide the outputs.
  func decision(on name: String, _ tensor: Tensor) throws -> Decision? {
    guard tensor.shape.rank == 4, tensor.shape.elementCount > 0 else { return nil }
    let (outputs, inputs) = (tensor.shape.dimensions[0], tensor.shape.dimensions[1])
    if let (_, count) = given.first(where: { $0.glob.matches(name) }) {
      guard outputs.isMultiple(of: count) else {
        throw ModelError.mismatch(
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
        remark: "its one input channel assumed to be the network's input")
    }
    return Decision(
      count: outputs,
      remark: "\(outputs) groups, assumed depthwise because each kernel has one input channel")
  }

  private static func oneGroup(_ inputs: Int) -> String {
    "one group assumed, although no layer has its \(inputs) input channels as outputs"
  }

  /// Whether the inputs are a part of some layer's outputs but no layer's outputs, and not the
  /// network's input.
  private func mayBeGrouped(_ name: String, _ inputs: Int) -> Bool {
    guard !outputs.contains(inputs), kernels.first?.name != name, !Self.isFirst(name) else {
      return false
    }
    return outputs.contains { $0 > inputs && $0.isMultiple(of: inputs) }
  }

  /// Whether a kernel with one input channel appears to be a network's first: no other kernel needs
  /// channels that no layer provides, and the kernel's name or the network's output indicates it.
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

  /// Whether a layer's name marks it as a network's first.
  private static func isFirst(_ name: String) -> Bool {
    name.split(separator: ".").contains { firstNames.contains(String($0)) }
  }
}
