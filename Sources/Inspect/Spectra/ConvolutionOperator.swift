import Foundation
import LinearAlgebra

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
