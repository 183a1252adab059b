import Formats
import Storage

/// A network as its ncnn description has it, layer by layer: Real-ESRGAN, SPAN, waifu2x and others that
/// exist in this form alone.
enum NCNNNetwork: NetworkDescription {
  static let name = "ncnn"
  static let landmarks: [String] = []
  /// What ncnn multiplies by to round the inputs and results of layers in `int8`.
  static let buffers: Set<String> = ["input_scale", "output_scale"]

  static func describe(_ build: inout NetworkBuilder) throws -> NetworkTraits {
    guard case .text(let text)? = build.weights.archive.values[NCNNFormat.descriptionKey] else {
      throw WeightMismatch(tensor: NCNNFormat.descriptionKey, problem: "is missing")
    }
    let description = try NCNNDescription(parsing: text)
    var translation = try NCNNTranslation(description, &build)
    for layer in description.layers { try translation.translate(layer, &build) }
    let output = try translation.output()
    let frame = try Frame(build.graph(to: output))
    guard output.channels == translation.channelCount, [1, 3].contains(output.channels) else {
      throw ModelError.unsupported(
        "the network makes \(counted(output.channels, "channel")) of "
          + "\(translation.channelCount), which is no image of an image")
    }
    let layers = description.layers
    var remarks: [String] = []
    if try layers.contains(where: { try $0.type.contains("Conv") && $0.count(8) > 0 }) {
      remarks.append("inputs of layers that ncnn rounds to int8 stay as they are")
    }
    let convolutions = layers.count { $0.type.contains("onvolution") }
    return NetworkTraits(
      output: output, scale: frame.scale, range: PixelRange(unshifted: output.channels),
      multiple: frame.multiple, margin: frame.margin,
      configuration: counted(convolutions, "convolution"), remarks: remarks)
  }

  /// How the size of the result follows from the image's.
  private struct Frame {
    let scale: Int
    /// The pixels that the network takes off at each edge of the image.
    let margin: Int
    /// Images have multiples of this many pixels, besides the margins.
    let multiple: Int

    /// Sides with which networks are tried: the margins of known ones are below 40 pixels.
    private static let sides = 256..<384

    /// - Throws: `ModelError` when the result is not that of the whole image, larger by one factor.
    init(_ graph: NetworkGraph) throws {
      let results = Self.sides.map { (side: $0, result: Self.result(graph, $0)) }
      for multiple in 1...32 {
        for rest in 0..<multiple {
          let some = results.filter { $0.side % multiple == rest }
          if let frame = Frame(some, multiple: multiple) {
            self = frame
            return
          }
        }
      }
      let known = results.compactMap { side, result in result.map { "\($0) for \(side)" } }
      throw ModelError.unsupported(
        "no whole factor, with margins, makes the sizes of the results: "
          + (known.isEmpty
            ? "the layers' do not fit one another" : known.prefix(3).joined(separator: ", ")))
    }

    /// - Returns: `nil` unless all results follow from one factor and the margins.
    private init?(_ results: [(side: Int, result: Int?)], multiple: Int) {
      guard let first = results.first, let last = results.last, let least = first.result,
        let most = last.result, (most - least) % (last.side - first.side) == 0
      else { return nil }
      let scale = (most - least) / (last.side - first.side)
      let lost = scale * first.side - least
      guard scale > 0, lost >= 0, lost % (2 * scale) == 0,
        results.allSatisfy({ $0.result == scale * $0.side - lost }),
        (first.side - lost / scale) % multiple == 0
      else { return nil }
      (self.scale, self.multiple) = (scale, multiple)
      margin = lost / (2 * scale)
    }

    /// Returns the side of the result for a square image; `nil` where the network does not take it.
    private static func result(_ graph: NetworkGraph, _ side: Int) -> Int? {
      guard let output = graph.output else { return nil }
      return graph.sizes(height: side, width: side)?[output.node].height
    }
  }
}
