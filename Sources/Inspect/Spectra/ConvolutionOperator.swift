import Formats
import Glibc
import LinearAlgebra
import Storage

/// A convolution as the linear map of feature maps that it is, with circular padding and stride 1.
///
/// The discrete Fourier transform over a grid of `height · width` places makes it block diagonal: one
/// complex `[out, in]` matrix a frequency, whose singular values together are exactly those of the
/// operator `[out·height·width, in·height·width]`. Source: Sedghi, Gupta and Long, "The singular
/// values of convolutional layers", ICLR 2019, theorem 6.
public struct ConvolutionOperator: Hashable, Sendable {
  /// Output channels.
  public let outputs: Int
  /// Input channels of each group.
  public let inputs: Int
  /// Rows of the kernel.
  public let kernelHeight: Int
  /// Columns of the kernel.
  public let kernelWidth: Int
  /// Groups of channels that do not mix, so that the operator is block diagonal: 1 for an ordinary
  /// convolution, as many as channels for a depthwise one.
  public let groups: Int
  /// `[outputs, inputs, kernelHeight, kernelWidth]`, row-major.
  public let weights: [Double]

  /// The operator of a convolution's weights `[outputs, inputs, kernelHeight, kernelWidth]`.
  ///
  /// - Parameters:
  ///   - outputs: of all groups together.
  ///   - inputs: of one group.
  ///   - groups: how many there are.
  /// - Precondition: the counts are positive and agree, and groups divide the outputs.
  public init(
    outputs: Int, inputs: Int, kernelHeight: Int, kernelWidth: Int, groups: Int = 1,
    weights: [Double]
  ) {
    precondition(
      outputs > 0 && inputs > 0 && kernelHeight > 0 && kernelWidth > 0,
      "an empty convolution is no operator")
    precondition(
      weights.count == outputs * inputs * kernelHeight * kernelWidth, "one weight a place")
    precondition(groups > 0 && outputs.isMultiple(of: groups), "groups have as many outputs each")
    self.outputs = outputs
    self.inputs = inputs
    self.kernelHeight = kernelHeight
    self.kernelWidth = kernelWidth
    self.groups = groups
    self.weights = weights
  }

  /// The size of the feature maps that the operator works on, in pixels.
  public struct Grid: Codable, Hashable, Sendable, CustomStringConvertible {
    /// Columns of the feature maps.
    public var width: Int
    /// Rows of the feature maps.
    public var height: Int

    public init(width: Int, height: Int) {
      self.width = width
      self.height = height
    }

    /// Reads `64x48`, width first; both from 1 to 1024.
    public init?(_ text: String) {
      let parts = text.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
      guard parts.count == 2, let width = parts[0], let height = parts[1],
        (1...1024).contains(width), (1...1024).contains(height)
      else { return nil }
      self.init(width: width, height: height)
    }

    public var description: String { "\(width)x\(height)" }
  }

  /// All `height · width · min(outputs, groups · inputs)` singular values, largest first.
  ///
  /// A kernel larger than the grid wraps around it, as circular padding does.
  ///
  /// - Throws: `LAPACKError`, in particular for NaN and infinite elements.
  public func singularValues(on grid: Grid) throws -> [Double] {
    // Rows and columns of NaN would be those of a transformed matrix, which mean nothing.
    _ = try SingularValues(
      of: Matrix(
        rows: outputs, columns: weights.count / outputs,
        values: weights.map { $0.isFinite ? 0 : $0 }))
    var all: [Double] = []
    for v in 0..<grid.height {
      for u in 0..<grid.width {
        // Real weights give the opposite frequency the conjugate matrix, with the same values.
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

  /// Singular values of the blocks of frequency (u, v), one block for each group.
  private func singularValues(u: Int, v: Int, _ grid: Grid) throws -> [Double] {
    let (real, imaginary) = transformed(u: u, v: v, grid)
    let size = outputs / groups * inputs
    return try (0..<groups).flatMap { group in
      let range = group * size..<(group + 1) * size
      return try singularValues(real[range], imaginary[range])
    }
  }

  /// Singular values of one block: those of the real matrix [[Re, −Im], [Im, Re]], which has each of
  /// them twice. A block of one row or column has one, its norm.
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

  /// The transform of all kernels at one frequency. Kernels are so small against the grid that the
  /// sum itself is cheaper than a fast transform of the padded grid.
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

  /// - Throws: `ModelError` when a pattern matches no weight of four dimensions.
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

  /// - Throws: `ModelError` when the groups that were given do not divide the outputs.
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
