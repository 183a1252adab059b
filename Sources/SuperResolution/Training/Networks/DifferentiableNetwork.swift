import Formats
import Imaging
import Storage
import Synchronization

/// A network whose parameters come from a checkpoint, and whose passes are recorded on tapes.
struct DifferentiableNetwork: Sendable {
  let network: TrainableGraph
  let sites: [ActivationSite]
  /// Tensors of which parameters are made that are not learned.
  let fixedTensors: Set<String>
  private let layouts = LayoutCache()

  /// - Returns: the network and its parameters: one per tensor other than buffers and batch
  ///   statistics, and what is made of tensors.
  /// - Throws: the errors of `SuperResolutionNetwork`; `ModelError` if it cannot be trained.
  static func load(_ archive: TensorArchive) throws -> (
    network: DifferentiableNetwork, store: ParameterStore
  ) {
    let (architecture, sites) = try Architectures.load(archive)
    var store = ParameterStore()
    for (name, tensor) in archive.tensors {
      let last = name.split(separator: ".").last.map(String.init) ?? name
      if architecture.buffers.contains(last) || TensorArchive.counterNames.contains(last)
        || last.hasPrefix("running_")
      {
        continue
      }
      let values = try locatingErrors(tensor: name) { try tensor.floatValues() }
      store.add(name, values, group: group(name, archive))
    }
    var finder = ParameterFinder(store: store, WeightReader(archive))
    let network = try TrainableGraph(architecture.graph, architecture.traits, &finder)
    return (
      DifferentiableNetwork(
        network: network, sites: sites.sites, fixedTensors: finder.fixedTensors), finder.store
    )
  }

  private init(network: TrainableGraph, sites: [ActivationSite], fixedTensors: Set<String>) {
    self.network = network
    self.sites = sites
    self.fixedTensors = fixedTensors
  }

  static var cannotBeTrained: ModelError {
    ModelError("networks of this kind can be run, but not trained").offering(.noLearning)
  }

  private static func group(_ name: String, _ archive: TensorArchive) -> ParameterGroup {
    if name.hasSuffix(".bias") {
      let weight = archive.tensors[name.dropLast(4) + "weight"]
      return weight?.shape.rank == 1 ? .norms : .biases
    }
    return name.hasSuffix(".weight") && archive.tensors[name]?.shape.rank == 1 ? .norms : .others
  }

  // MARK: Passes

  /// The result of a pass, in the network's range.
  struct Pass {
    /// `[height · width, channels]` of the upscaled image with its padding.
    let output: Variable
    let outputWidth: Int
    let groups: [Variable]
  }

  /// - Throws: `ModelError` when the image has too few pixels or the wrong number of channels.
  func check(_ image: Image) throws {
    try image.check(channelCount: network.channelCount)
    let (height, width) = padded(image)
    guard network.traits.canPad(image.height), network.traits.canPad(image.width) else {
      throw ModelError(
        "the image has \(image.width) × \(image.height) pixels, of which the network needs "
          + "more than half of \(width) × \(height)")
    }
    try network.check(height: height, width: width)
  }

  private func padded(_ image: Image) -> (height: Int, width: Int) {
    (network.traits.padded(image.height), network.traits.padded(image.width))
  }

  /// - Precondition: `check` has accepted the image.
  func run(_ image: Image, _ tape: Tape) -> Pass {
    let (height, width) = padded(image)
    let features = network.traits.features(of: image)
    let pixels = tape.result(
      rows: height * width, columns: features.channels, needsGradient: false)
    pixels.values.update(from: features.values, count: features.count)
    let layouts = layouts.layouts(network, height: height, width: width)
    let (output, groups) = network.run(pixels, height: height, layouts, tape)
    return Pass(
      output: output, outputWidth: (width - 2 * network.traits.margin) * network.scale,
      groups: groups)
  }

  /// Returns the image in the output of a pass, without the padding.
  func image(_ pass: Pass, of input: Image) -> Image {
    let (height, width) = (input.height * network.scale, input.width * network.scale)
    var image = Image(
      channelCount: input.channelCount, height: height, width: width,
      samples: [Float](repeating: 0, count: input.channelCount * height * width))
    image.samples.withUnsafeMutableBufferPointer { samples in
      guard let start = samples.baseAddress else { return }
      network.outputRange.store(
        pass.output.values, rows: 0..<height, width: pass.outputWidth, in: start, height: height,
        keptWidth: width)
    }
    return image
  }
}

/// A cache of layouts, for up to eight image sizes.
private final class LayoutCache: Sendable {
  private struct Size: Hashable {
    let height: Int
    let width: Int
  }
  private let known = Mutex<[Size: AttentionLayouts]>([:])

  func layouts(_ network: TrainableGraph, height: Int, width: Int) -> AttentionLayouts {
    let size = Size(height: height, width: width)
    if let found = known.withLock({ $0[size] }) { return found }
    let made = network.layouts(height: height, width: width)
    known.withLock { known in
      // Training uses one size or two; the limit bounds memory when there are many.
      if known.count >= 8 { known = [:] }
      known[size] = made
    }
    return made
  }
}
