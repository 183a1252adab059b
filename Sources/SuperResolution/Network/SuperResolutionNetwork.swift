import CKernels
import Formats
import Imaging
import LinearAlgebra
import Storage

/// A super-resolution network with its weights, ready to run on the processor.
///
/// The architecture and its configuration are inferred from the checkpoint's tensors. A packed
/// model's activation quantizers round the values that flow through the layers. A linear layer
/// whose weights are stored as codes and whose inputs are quantized multiplies codes in integer
/// arithmetic; all other weights are dequantized. With `usesIntegers: false` everything runs in
/// floating point, for comparison: each layer then gives the same result except for rounding in
/// Float32.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let network = try SuperResolutionNetwork(archive, name: "model", threads: 4)
/// print(network.summary)  // RRDBNet ×4, 64 channels, 23 blocks
/// let image = try RasterImage(contentsOf: "photo.png").colorImage
/// let large = try network.upscale(image, progress: nil)
/// print(large.width, large.height)
/// ```
public struct SuperResolutionNetwork: Upscaler {
  /// The network's name in reports.
  public let name: String
  /// A description such as `SwinIR ×2, 60 channels, 24 blocks`.
  public var summary: String { architecture.summary }
  /// Assumptions and deviations from the published networks: lower-case sentences without a final
  /// period.
  public var remarks: [String] { architecture.remarks }
  /// The factor by which the network upscales each side.
  public var scale: Int { architecture.scale }
  /// Channels that an image must have: 1 or 3.
  public var channelCount: Int { architecture.channelCount }
  /// Equal to `channelCount`: a network accepts no other number of channels.
  public var requiredChannelCount: Int? { channelCount }
  /// With this many pixels around a tile, its result is that of the whole image but for rounding;
  /// `nil` where every pixel of the result depends on the whole image.
  public var exactTileOverlap: Int? { architecture.exactOverlap }
  /// The sites at which activations can be observed and quantized, in the order of the forward
  /// pass.
  package let sites: [ActivationSite]
  /// The most threads that work on an image; results do not depend on it.
  public let threads: Int
  /// How to cut large images into tiles; `nil` to process them whole.
  public var tiles: TileOptions?

  /// Layers that run in integer arithmetic.
  public let integerLayerCount: Int

  /// The bytes of the weights in memory: one for each code that is multiplied in integer arithmetic,
  /// four for each other element.
  public var weightByteCount: Int { inference.weightByteCount }

  let architecture: any Architecture
  /// One entry per site; empty when no activation is quantized.
  let quantizers: [ck_quantizer?]
  private let inference: NetworkInference
  private let archive: TensorArchive

  /// The names of all networks that can be run, besides those of ncnn, which describe themselves.
  package static var knownNames: [String] { Architectures.all.map { $0.name } }

  /// Recognizes the network by its tensors and loads their values.
  ///
  /// - Parameters:
  ///   - archive: a state dictionary, not nested; `TensorArchive.selecting(root:)` extracts one
  ///     from a training checkpoint.
  ///   - name: the network's name in reports.
  ///   - threads: at least 1.
  ///   - activations: activation quantizers, named after sites; `nil` for those of the archive,
  ///     which packed models have.
  ///   - usesIntegers: whether layers run in integer arithmetic where they can.
  /// - Throws: `ModelError` when no architecture fits, with the closest one and the first tensor
  ///   that differs, when a quantizer's site is unknown, or when a tensor cannot be read.
  public init(
    _ archive: TensorArchive, name: String, threads: Int,
    activations: [ActivationQuantizer]? = nil, usesIntegers: Bool = true
  ) throws {
    precondition(threads >= 1, "at least one thread is needed")
    self.name = name
    self.threads = threads
    self.archive = archive
    let list: SiteList
    (architecture, list) = try Architectures.load(archive)
    sites = list.sites
    quantizers = try Self.quantizers(activations ?? archive.activations, for: list.sites)
    let layers =
      usesIntegers
      ? try IntegerLayers(
        archive, sites: list.sites, quantizers: quantizers,
        biases: quantizers.isEmpty ? [:] : architecture.graph.siteBiases(archive),
        excluding: architecture.graph.normalizedSites) : IntegerLayers()
    integerLayerCount = layers.count
    inference = try NetworkInference(architecture, archive, quantizers, layers)
  }

  /// Returns the network with its own weights and no quantizers, as calibration sees it.
  ///
  /// - Throws: `ModelError` when a tensor cannot be read.
  package func unquantized() throws -> SuperResolutionNetwork {
    guard !quantizers.isEmpty else { return self }
    return try SuperResolutionNetwork(archive, name: name, threads: threads, activations: [])
  }

  /// Returns the most bytes that `upscale` needs at once for an image that is not cut into tiles, besides
  /// the weights and the image; `nil` where the network does not take an image of this size.
  func peakByteCount(height: Int, width: Int) -> Int? {
    inference.peakByteCount(height: height, width: width, threads: threads)
  }

  private static func quantizers(
    _ activations: [ActivationQuantizer], for sites: [ActivationSite]
  ) throws -> [ck_quantizer?] {
    guard !activations.isEmpty else { return [] }
    let places = Dictionary(uniqueKeysWithValues: sites.enumerated().map { ($1.name, $0) })
    var quantizers = [ck_quantizer?](repeating: nil, count: sites.count)
    for activation in activations {
      guard let site = places[activation.name] else {
        throw ModelError(
          "the network has no activation '\(activation.name)' to quantize")
      }
      guard quantizers[site] == nil else {
        throw ModelError("the activation '\(activation.name)' has two quantizers")
      }
      try activation.check(at: sites[site])
      quantizers[site] = ck_quantizer(activation)
    }
    return quantizers
  }

  /// Returns a description of the network in a checkpoint, such as `RRDBNet ×4, 64 channels, 23
  /// blocks`; `nil` if no architecture matches.
  ///
  /// The tensors may lie below the conventional root of a training checkpoint. Most networks are
  /// recognized by the names and shapes of their tensors alone.
  package static func summary(of archive: TensorArchive) -> String? {
    let root = archive.conventionalRoot
    guard let weights = try? root.map(archive.selecting(root:)) ?? archive else { return nil }
    return Architectures.summary(of: weights)
  }

  public func upscale(
    _ image: Image, progress: (@Sendable (Double) -> Void)?
  ) throws -> Image {
    try check(image)
    guard tiles != nil else { return try run(image, progress: progress) }
    var result = Image(
      zeros: image.channelCount, height: image.height * scale, width: image.width * scale)
    var row = 0
    try upscaleBands(of: image, progress: progress) { band in
      result.paste(band, height: band.height, width: band.width, toRow: row)
      row += band.height
    }
    return result
  }

  public func upscaleBands(
    of image: Image, progress: (@Sendable (Double) -> Void)?, _ body: (_ band: Image) throws -> Void
  ) throws {
    try check(image)
    guard let tiles else { return try body(try run(image, progress: progress)) }
    try tiles.bands(
      of: image, scale: scale, period: architecture.windowPeriod,
      upscale: { tile, first, share in
        try run(tile, progress: progress.map { report in { report(first + $0 * share) } })
      }, body)
  }

  private func run(_ image: Image, progress: ((Double) -> Void)?) throws -> Image {
    var context = ForwardContext(threads: threads)
    context.quantizers = quantizers
    context.progress = progress
    return try run(image, context)
  }

  /// Processes one image whole, on this thread.
  ///
  /// - Precondition: the network has no quantizers; see `unquantized`.
  /// - Parameters:
  ///   - sites: indices in `sites`.
  ///   - observe: called with one of them, rows of values and the length of a row.
  package func observe(
    _ image: Image, at sites: Set<Int>,
    with observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws {
    precondition(quantizers.isEmpty, "an observer sees full precision")
    try withoutActuallyEscaping(observe) { observe in
      var context = ForwardContext(threads: 1)
      context.observer = observe
      context.observedSites = sites
      _ = try run(image, context)
    }
  }

  /// Processes one image whole.
  func run(_ image: Image, _ context: ForwardContext) throws -> Image {
    // Set once here, so that the passes inside do not change the setting each time.
    try BLASThreads.runningSingleThreaded { try inference.run(image, context) }
  }

  package func check(_ image: Image) throws { try image.check(channelCount: channelCount) }
}

extension Image {
  /// Checks that the number of channels is the one that a network requires.
  ///
  /// - Throws: `ModelError` with both numbers.
  func check(channelCount expected: Int) throws {
    guard channelCount == expected else {
      throw ModelError(
        "the image has \(counted(channelCount, "channel")), the network takes \(expected)")
    }
  }
}
