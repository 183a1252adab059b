import CKernels
import Formats
import Imaging
import LinearAlgebra
import Storage
import Transform

/// A super-resolution network with its weights, ready to run on the processor.
///
/// The architecture and its configuration are read off the checkpoint's tensors. A packed model's
/// activation quantizers round what flows through the layers. A linear layer whose weights are stored
/// as codes, and whose inputs are quantized, multiplies codes with codes in whole numbers; other
/// weights come dequantized. `usesIntegers: false` has everything in floating point, for comparison:
/// each layer gives the same but for rounding in Float32.
public struct SuperResolutionNetwork: Upscaler {
  /// What reports call it.
  public let name: String
  /// In words, such as `SwinIR ×2, 60 channels, 24 blocks`.
  public var summary: String { architecture.summary }
  /// What was assumed of it, or is unlike the published networks: lower-case sentences without an end.
  public var remarks: [String] { architecture.remarks }
  /// How many times it enlarges each side.
  public var scale: Int { architecture.scale }
  /// Channels that a picture must have: 1 or 3.
  public var channelCount: Int { architecture.channelCount }
  /// `channelCount`: a network takes nothing else.
  public var requiredChannelCount: Int? { channelCount }
  /// With this many pixels around a tile its result is that of the whole picture; `nil` where every
  /// pixel of the result depends on the whole picture.
  public var exactTileOverlap: Int? { architecture.exactOverlap }
  /// Where activations can be looked at and rounded, in the order of the forward pass.
  public let sites: [ActivationSite]
  /// At most this many threads work on a picture; results do not depend on it.
  public let threads: Int
  /// How large pictures are cut; `nil` to run them whole.
  public var tiles: TileOptions?

  /// Linear layers that multiply codes in whole numbers.
  public var integerLayerCount: Int { integerLayers.count }

  let architecture: any Architecture
  /// One entry a site; empty when no activation is quantized.
  let quantizers: [ck_quantizer?]
  let integerLayers: IntegerLayers

  /// Recognizes the network by its tensors and loads their values.
  ///
  /// - Parameters:
  ///   - archive: a state dictionary, not nested; `TensorArchive.selecting(root:)` takes one out of
  ///     a training checkpoint.
  ///   - name: what reports call the network.
  ///   - threads: at least 1.
  ///   - activations: quantizers of activations, by the names of sites; `nil` for those of the
  ///     archive, which packed models have.
  ///   - usesIntegers: whether layers are multiplied as whole numbers where they can be.
  /// - Throws: `ModelError` when no architecture fits, with the closest one and the first
  ///   tensor that differs, or when a quantizer's site is unknown; `ModelError` when a tensor cannot
  ///   be read.
  public init(
    _ archive: TensorArchive, name: String, threads: Int,
    activations: [ActivationQuantizer]? = nil, usesIntegers: Bool = true
  ) throws {
    precondition(threads >= 1, "at least one thread is needed")
    self.name = name
    self.threads = threads
    let (architecture, list) = try Architectures.load(archive)
    self.architecture = architecture
    sites = list.sites
    quantizers = try Self.quantizers(activations ?? archive.activations, for: list.sites)
    integerLayers =
      usesIntegers
      ? try IntegerLayers(archive, sites: list.sites, quantizers: quantizers) : IntegerLayers()
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

  public func upscale(
    _ picture: Picture, progress: (@Sendable (Double) -> Void)?
  ) throws -> Picture {
    try check(picture)
    guard let tiles else { return try run(picture, progress: progress) }
    return try tiles.assemble(picture, scale: scale, period: architecture.windowPeriod) {
      tile, first, share in
      try run(tile, progress: progress.map { report in { report(first + $0 * share) } })
    }
  }

  private func run(_ picture: Picture, progress: ((Double) -> Void)?) throws -> Picture {
    var context = ForwardContext(threads: threads)
    context.quantizers = quantizers
    context.integerLayers = integerLayers
    context.progress = progress
    return try run(picture, context)
  }

  /// Runs one picture whole.
  func run(_ picture: Picture, _ context: ForwardContext) throws -> Picture {
    // Said once here, so that the passes inside do not change the setting each time.
    try BLASThreads.runningSingleThreaded { try architecture.run(picture, context) }
  }

  func check(_ picture: Picture) throws { try picture.check(channelCount: channelCount) }
}

extension Picture {
  /// Checks that a network takes the picture's channels.
  ///
  /// - Throws: `ModelError` with both counts.
  func check(channelCount expected: Int) throws {
    guard channelCount == expected else {
      throw ModelError(
        "the picture has \(counted(channelCount, "channel")), the network takes \(expected)")
    }
  }
}
