import Formats
import Foundation
import TestSupport
import Testing

@testable import Imaging
@testable import SuperResolution

/// A small network of `Tests/Fixtures/superresolution` and PyTorch's results for it.
struct NetworkFixture {
  let weights: TensorArchive
  private let goldens: TensorArchive

  init(_ name: String) throws {
    try self.init(
      FormatRegistry.standard.open(PackageFolder.fixture("superresolution/\(name).safetensors")))
  }

  private init(_ archive: TensorArchive) {
    var weights = TensorArchive(values: archive.values)
    var goldens = TensorArchive()
    for (name, tensor) in archive.tensors {
      if name.hasPrefix("golden.") {
        goldens.tensors[String(name.dropFirst("golden.".count))] = tensor
      } else {
        weights.tensors[name] = tensor
      }
    }
    self.weights = weights
    self.goldens = goldens
  }

  func network(threads: Int = 2) throws -> SuperResolutionNetwork {
    try SuperResolutionNetwork(weights, name: "fixture", threads: threads)
  }

  func input() throws -> Image { try goldens.image("input") }
  func output() throws -> Image { try goldens.image("output") }

  /// Returns PyTorch's output of the quantized network.
  ///
  /// - Parameter byRows: Whether layers' inputs and probabilities are rounded within 0.95 of the
  ///   largest magnitude of each row instead of within their range.
  func quantizedOutput(byRows: Bool = false) throws -> Image {
    try goldens.image(byRows ? "quantized_by_rows" : "quantized")
  }

  /// Returns the smallest and largest value at every activation site, if the file has them.
  func ranges() throws -> [String: ClosedRange<Float>] {
    var ranges: [String: ClosedRange<Float>] = [:]
    for (name, tensor) in goldens.tensors where name.hasPrefix("range.") {
      let ends = try tensor.floatValues()
      ranges[String(name.dropFirst("range.".count))] = ends[0]...ends[1]
    }
    return ranges
  }

  /// Rows of a linear layer as PyTorch computed them, with inputs rounded to 6 bits within 0.95 of the
  /// largest magnitude of each row.
  struct QuantizedLayer {
    let name: String
    let rows: Int
    let inputs: Int
    let outputs: Int
    /// The inputs before rounding, `[rows, inputs]`.
    let input: [Float]
    /// The values that the codes of `input` stand for.
    let decodedInput: [Float]
    let weight: [Float]
    let bias: [Float]
    /// The outputs, `[rows, outputs]`.
    let output: [Float]
  }

  func quantizedLayers() throws -> [QuantizedLayer] {
    let suffix = ".codes"
    return try goldens.tensors.keys.filter { $0.hasPrefix("layer.") && $0.hasSuffix(suffix) }.map {
      let name = String($0.dropFirst("layer.".count).dropLast(suffix.count))
      func values(_ part: String) throws -> [Float] {
        try #require(goldens.tensors["layer.\(name).\(part)"]).floatValues()
      }
      let weight = try #require(weights.tensors["\(name).weight"])
      let (outputs, inputs) = (weight.shape.dimensions[0], weight.shape.dimensions[1])
      let input = try values("input")
      let rows = input.count / inputs
      var decoded: [Float] = []
      for (index, code) in try #require(goldens.tensors[$0]).bytes().array.enumerated() {
        let row = index / inputs
        let upper = 0.95 * (input[row * inputs..<(row + 1) * inputs].map { abs($0) }.max() ?? 0)
        let step = (upper + upper) / 63
        decoded.append(Float(code) * step - upper)
      }
      return QuantizedLayer(
        name: name, rows: rows, inputs: inputs, outputs: outputs, input: input,
        decodedInput: decoded, weight: try weight.floatValues(),
        bias: try #require(weights.tensors["\(name).bias"]).floatValues(),
        output: try values("output"))
    }
  }

  /// Returns the features after each residual group, if the file has them.
  func groups() throws -> [[Float]] {
    var groups: [[Float]] = []
    while let tensor = goldens.tensors["group.\(groups.count)"] {
      groups.append(try tensor.floatValues())
    }
    return groups
  }
}

extension TensorArchive {
  /// Returns the image in a tensor `[1, channels, height, width]`.
  func image(_ name: String) throws -> Image {
    let tensor = try #require(tensors[name])
    let dimensions = tensor.shape.dimensions
    return Image(
      channelCount: dimensions[1], height: dimensions[2], width: dimensions[3],
      samples: try tensor.floatValues())
  }
}

/// Returns the largest difference, in units of 1 or of the expected value, whichever is larger.
func largestDifference(_ found: [Float], _ expected: [Float]) -> Float {
  guard found.count == expected.count else { return .infinity }
  return zip(found, expected).reduce(0) { largest, pair in
    let difference = abs(pair.0 - pair.1) / max(1, abs(pair.1))
    // A NaN must not count as no difference.
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

func largestDifference(_ found: Image, _ expected: Image) -> Float {
  guard
    (found.channelCount, found.height, found.width)
      == (expected.channelCount, expected.height, expected.width)
  else { return .infinity }
  return largestDifference(found.samples, expected.samples)
}

func squaredDifference(_ first: Image, _ second: Image) -> Double {
  zip(first.samples, second.samples).reduce(0) { sum, pair in
    let difference = Double(pair.0) - Double(pair.1)
    return sum + difference * difference
  }
}

/// Returns how far, in dB, the difference of two results of a quantized network lies below what
/// quantization changes; `full` is the result without quantization.
///
/// A value at the edge between two codes falls on either side, depending on the order of the
/// additions before it, and everything after it differs by a whole step. Whole networks are
/// therefore compared in this way, and layers one by one from equal codes.
func decibelsBelowQuantization(
  _ found: Image, _ expected: Image, full: Image
) -> Double {
  10 * log10(squaredDifference(expected, full) / squaredDifference(found, expected))
}

extension SuperResolutionNetwork {
  /// Returns the result and the features after each residual group.
  func runWithGroups(_ image: Image) throws -> (output: Image, groups: [[Float]]) {
    var groups: [[Float]] = []
    var context = ForwardContext(threads: threads)
    context.groupObserver = { index, map in
      #expect(index == groups.count)
      groups.append(Array(UnsafeBufferPointer(start: map.values, count: map.count)))
    }
    return (try run(image, context), groups)
  }
}

/// Returns an image of seeded noise.
func noise(channelCount: Int = 3, height: Int, width: Int, seed: UInt64) -> Image {
  var generator = SplitMix(seed: seed)
  return Image(
    channelCount: channelCount, height: height, width: width,
    samples: (0..<channelCount * height * width).map { _ in
      Float.random(in: 0...1, using: &generator)
    })
}
