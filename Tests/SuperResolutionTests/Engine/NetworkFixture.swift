import Formats
import TestSupport
import Testing

@testable import SuperResolution

/// A small network of `Tests/Fixtures/superresolution` and what PyTorch computed with it.
struct NetworkFixture {
  let weights: TensorArchive
  private let goldens: TensorArchive

  init(_ name: String) throws {
    try self.init(
      FormatRegistry.standard.open(PackageFolder.fixture("superresolution/\(name).safetensors")))
  }

  private init(_ archive: TensorArchive) {
    var weights = TensorArchive()
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

  func input() throws -> Picture { try goldens.picture("input") }
  func output() throws -> Picture { try goldens.picture("output") }

  ///
  /// - Parameter byRows: with layers' inputs and probabilities rounded within 0.95 of the largest
  ///   magnitude of each row, and not within their range.
  func quantizedOutput(byRows: Bool = false) throws -> Picture {
    try goldens.picture(byRows ? "quantized_by_rows" : "quantized")
  }

  /// The smallest and largest value at every activation site, where the file has them.
  func ranges() throws -> [String: ClosedRange<Float>] {
    var ranges: [String: ClosedRange<Float>] = [:]
    for (name, tensor) in goldens.tensors where name.hasPrefix("range.") {
      let ends = try tensor.floatValues()
      ranges[String(name.dropFirst("range.".count))] = ends[0]...ends[1]
    }
    return ranges
  }

  /// The features after each residual group, where the file has them.
  func groups() throws -> [[Float]] {
    var groups: [[Float]] = []
    while let tensor = goldens.tensors["group.\(groups.count)"] {
      groups.append(try tensor.floatValues())
    }
    return groups
  }
}

extension TensorArchive {
  /// A tensor `[1, channels, height, width]`.
  func picture(_ name: String) throws -> Picture {
    let tensor = try #require(tensors[name])
    let dimensions = tensor.shape.dimensions
    return Picture(
      channelCount: dimensions[1], height: dimensions[2], width: dimensions[3],
      samples: try tensor.floatValues())
  }
}

/// The largest difference, in units of 1 or of the expected value where that is larger.
func largestDifference(_ found: [Float], _ expected: [Float]) -> Float {
  guard found.count == expected.count else { return .infinity }
  return zip(found, expected).reduce(0) { largest, pair in
    let difference = abs(pair.0 - pair.1) / max(1, abs(pair.1))
    // A NaN must not pass as no difference.
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

func largestDifference(_ found: Picture, _ expected: Picture) -> Float {
  guard
    (found.channelCount, found.height, found.width)
      == (expected.channelCount, expected.height, expected.width)
  else { return .infinity }
  return largestDifference(found.samples, expected.samples)
}

extension SuperResolutionNetwork {
  /// The result and the features after each residual group.
  func runWithGroups(_ picture: Picture) throws -> (output: Picture, groups: [[Float]]) {
    var groups: [[Float]] = []
    var context = ForwardContext(threads: threads)
    context.groupObserver = { index, map in
      #expect(index == groups.count)
      groups.append(Array(UnsafeBufferPointer(start: map.values, count: map.count)))
    }
    return (try run(picture, context), groups)
  }
}

/// A picture of seeded noise.
func noise(channelCount: Int = 3, height: Int, width: Int, seed: UInt64) -> Picture {
  var generator = SplitMix(seed: seed)
  return Picture(
    channelCount: channelCount, height: height, width: width,
    samples: (0..<channelCount * height * width).map { _ in
      Float.random(in: 0...1, using: &generator)
    })
}
