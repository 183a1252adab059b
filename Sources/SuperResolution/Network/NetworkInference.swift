import CKernels
import Formats
import Imaging
import Storage

/// A network with its weights in memory, ready to run with its quantizers.
struct NetworkInference: Sendable {
  private let traits: NetworkTraits
  private let graph: NetworkGraph
  private let inference: GraphInference
  /// The bytes of weights and of what is computed from them, as the kernels hold them.
  let weightByteCount: Int

  /// - Parameters:
  ///   - quantizers: one per site; empty when no site is quantized.
  ///   - layers: those that multiply codes; of all others, the weights' values are loaded.
  /// - Throws: `ModelError` when a tensor cannot be read.
  init(
    _ architecture: any Architecture, _ archive: TensorArchive, _ quantizers: [ck_quantizer?],
    _ layers: IntegerLayers
  ) throws {
    (traits, graph) = (architecture.traits, architecture.graph)
    var weights = WeightReader(archive)
    inference = try GraphInference(graph, &weights, quantizers, layers)
    weightByteCount = weights.valueCount * MemoryLayout<Float>.stride + layers.byteCount
  }

  /// Returns the most bytes that `run` needs at once, besides the weights and the image; `nil` where
  /// `run` does not take an image of this size.
  func peakByteCount(height: Int, width: Int, threads: Int) -> Int? {
    let count = traits.padded(height) * traits.padded(width)
    guard traits.canPad(height), traits.canPad(width), graph.positionCount ?? count == count,
      let pass = passByteCount(
        height: traits.padded(height), width: traits.padded(width), threads: threads)
    else { return nil }
    // What a pass takes and what it makes, with and without its padding.
    let (scale, channelCount) = (traits.scale, traits.range.mean.count)
    let ends = channelCount * (count + scale * scale * (count + height * width))
    return max(pass, ends * MemoryLayout<Float>.stride)
  }

  /// Returns the most bytes of a pass; `nil` where the graph does not take padded images of this size.
  private func passByteCount(height: Int, width: Int, threads: Int) -> Int? {
    guard graph.sizes(height: height, width: width) != nil else { return nil }
    return inference.peakByteCount(height: height, width: width, threads: threads)
  }

  /// Upscales one image whose number of channels has been checked.
  ///
  /// - Throws: `ModelError` when the image has too few pixels, and the errors of an observer.
  func run(_ image: Image, _ context: ForwardContext) throws -> Image {
    let (height, width) = (traits.padded(image.height), traits.padded(image.width))
    func takes(_ height: Int, _ width: Int) -> Bool {
      passByteCount(height: height, width: width, threads: 1) != nil
    }
    guard traits.canPad(image.height), traits.canPad(image.width), takes(height, width) else {
      let least = (1...256).first {
        traits.canPad($0) && takes(traits.padded($0), traits.padded($0))
      }
      throw ModelError(
        "the image has \(image.width) × \(image.height) pixels, of which the network needs "
          + (least.map { "at least \($0) × \($0)" } ?? "more"))
    }
    if let tokens = graph.positionCount, tokens != height * width {
      throw ModelError(
        "the image has \(counted(height * width, "pixel")) with its padding, the network's "
          + "position embedding is for \(tokens)")
    }
    let result = try inference.run(traits.features(of: image), context)
    let (keptHeight, keptWidth) = (image.height * traits.scale, image.width * traits.scale)
    let channels = traits.range.mean.count
    let samples = [Float](unsafeUninitializedCapacity: channels * keptHeight * keptWidth) {
      samples, count in
      guard let start = samples.baseAddress else { return }
      (traits.outputRange ?? traits.range).store(
        result.values, rows: 0..<result.height, width: result.width, in: start,
        height: keptHeight, keptWidth: keptWidth)
      count = channels * keptHeight * keptWidth
    }
    context.progress?(1)
    return Image(
      channelCount: channels, height: keptHeight, width: keptWidth, samples: samples)
  }
}
