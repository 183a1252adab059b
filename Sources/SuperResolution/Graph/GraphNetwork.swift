import CKernels
import Formats
import Imaging
import Storage

/// A kind of network, as a function from the names and shapes of a checkpoint's tensors to a graph.
protocol NetworkDescription: Sendable {
  static var name: String { get }
  /// Parts of tensor names that tell this kind from others, as `Architecture.landmarks`.
  static var landmarks: [String] { get }
  /// Buffers that a graph does not need, by the last component of their names.
  static var buffers: Set<String> { get }

  /// Builds the graph, checking every tensor.
  ///
  /// - Throws: `WeightMismatch` for the first tensor that differs.
  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits
}

extension NetworkDescription {
  static var buffers: Set<String> { [] }
}

/// What a description says of a network besides its graph.
struct NetworkTraits: Sendable {
  /// The result of the whole network.
  var output: NetworkGraph.Value
  var scale: Int
  /// The conversion of samples into the network's range, which also says how many channels images
  /// have.
  var range: PixelRange
  /// The conversion of the result; `nil` for that of the input.
  var outputRange: PixelRange?
  /// Images are mirrored at the right and lower edges up to multiples of this.
  var multiple = 1
  /// Then this many pixels are mirrored at each edge; the network crops them.
  var margin = 0
  /// Whether they are extended by zeros instead.
  var padsWithZeros = false
  /// What follows the name and the scale in a summary, such as `64 channels, 23 blocks`.
  var configuration: String
  var remarks: [String] = []
}

extension NetworkTraits {
  /// Returns a side of `count` pixels with its padding.
  func padded(_ count: Int) -> Int { count.roundedUp(toMultipleOf: multiple) + 2 * margin }

  /// Whether the padding of a side of `count` pixels has enough to mirror.
  func canPad(_ count: Int) -> Bool { padsWithZeros || padded(count) - margin < 2 * count }

  /// Returns an image with its padding as the network takes it.
  ///
  /// - Precondition: `canPad` its sides.
  func features(of image: Image) -> FeatureMap {
    range.features(
      of: image, height: padded(image.height), width: padded(image.width), margin: margin,
      mirrors: !padsWithZeros)
  }
}

/// A network that a graph describes.
struct GraphNetwork<Description: NetworkDescription>: Architecture {
  static var name: String { Description.name }
  static var landmarks: [String] { Description.landmarks }
  static var buffers: Set<String> { Description.buffers }

  let traits: NetworkTraits
  let graph: NetworkGraph

  init(_ weights: inout WeightReader, sites: inout SiteList) throws {
    var build = NetworkBuilder(weights)
    // What was taken before an error tells how close the checkpoint is.
    defer { weights = build.weights }
    (traits, graph) = try Self.describe(&build)
    sites = graph.sites
  }

  /// Reads nothing but names and shapes.
  static func summary(of weights: WeightReader) throws -> String {
    var build = NetworkBuilder(weights)
    return summary(try describe(&build).traits)
  }

  /// Builds the graph of a checkpoint that has no other tensors.
  private static func describe(
    _ build: inout NetworkBuilder
  ) throws -> (traits: NetworkTraits, graph: NetworkGraph) {
    let traits = try Description.describe(&build)
    let graph = try build.graph(to: traits.output)
    try build.weights.finish(ignoring: Description.buffers)
    return (traits, graph)
  }

  private static func summary(_ traits: NetworkTraits) -> String {
    "\(name) ×\(traits.scale), \(traits.configuration)"
  }

  var scale: Int { traits.scale }
  var channelCount: Int { traits.range.mean.count }
  /// The largest window's, where windows are not among what the image is extended to.
  var windowPeriod: Int { max(traits.multiple, graph.windowMultiple) }
  var exactOverlap: Int? { graph.reach?.roundedUp(toMultipleOf: windowPeriod) }
  var summary: String { Self.summary(traits) }
  var remarks: [String] { traits.remarks }
}

extension NetworkGraph {
  /// The pixels that an image must have; `nil` for any number.
  var positionCount: Int? {
    for case .addPositions(let positions) in nodes.map(\.operation) {
      return positions.shape[positions.shape.count - 2]
    }
    return nil
  }

  /// The largest multiple to which an attention extends images.
  var windowMultiple: Int {
    nodes.reduce(1) { largest, node in
      switch node.operation {
      case .windowAttention(let shape, _): max(largest, shape.multiple)
      case .correlation(let shape): max(largest, shape.window)
      default: largest
      }
    }
  }

  /// The distance, in pixels of the image, from which the output depends on others; `nil` where every
  /// pixel depends on the whole image or on its size.
  var reach: Int? {
    /// A distance and the size of a result's pixel, both in pixels of the image.
    typealias Extent = (reach: Double, pixel: Double)
    var extents: [Extent] = []
    for node in nodes {
      // The biases of positions do not depend on the image.
      let inputs = node.inputs.map { extents[$0.node] }
      let (reach, pixel) = inputs.reduce((0, inputs.first?.pixel ?? 1)) {
        (max($0.0, $1.reach), $0.1)
      }
      switch node.operation {
      case .windowAttention(let shape, _):
        // Windows end at shifted multiples of their side. At the opposite edge the shift counts from
        // the other side, so the larger of the two distances is taken.
        func next(_ side: Int, _ offset: Int) -> Int {
          let (reach, offset) = (Int(reach.rounded(.up)), offset % side)
          return reach <= offset ? offset : offset + (reach - offset + side - 1) / side * side
        }
        let edges = [
          next(shape.height, shape.shiftDown), next(shape.height, shape.height - shape.shiftDown),
          next(shape.width, shape.shiftRight), next(shape.width, shape.width - shape.shiftRight),
        ]
        extents.append((Double(edges.max() ?? 0), pixel))
      case .channelAttention, .correlation, .overlapAttention, .average, .normalizeGroups,
        .bilinear, .largest, .largestInGrid, .sample, .mergePixels,
        .move(.interleave), .move(.deinterleave), .move(.nearestTo), .move(.mirror), .move(.crop),
        .move(.neighbours):
        return nil
      case .convolution(let shape, _, _, _, _):
        guard shape.step == 1 else { return nil }
        let radius = max(shape.kernel.height, shape.kernel.width) / 2 * shape.dilation
        extents.append((reach + Double(radius) * pixel, pixel))
      case .pixelShuffle(let factor), .move(.nearest(let factor)):
        extents.append((reach, pixel / Double(factor)))
      case .bicubic(let ratio):
        extents.append((reach + 2 * pixel, pixel / Double(ratio.factor)))
      case .pixelUnshuffle(let factor):
        extents.append((reach + pixel * Double(factor - 1), pixel * Double(factor)))
      case .constant, .offsets: extents.append((0, 1))
      case .input, .linear, .move(.trim), .normalizeHeads, .function, .parametricReLU, .scale,
        .addChannels,
        .addPositions, .add,
        .multiply, .concatenate, .channels, .repeatChannels, .normalizePixels, .normalizeChannels:
        extents.append((reach, pixel))
      }
    }
    return output.map { Int(extents[$0.node].reach.rounded(.up)) }
  }
}
