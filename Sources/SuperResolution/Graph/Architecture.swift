import Formats
import Storage

/// A network architecture, whose configuration is inferred from the names and shapes of a
/// checkpoint's tensors.
///
/// `GraphNetwork` conforms for each description of a network; `Architectures.all` lists them.
protocol Architecture: Sendable {
  static var name: String { get }
  /// Parts of tensor names that tell this architecture from others. A checkpoint that fits none is
  /// closest to the one of whose landmarks it has most, and after them to the one that took most of
  /// its tensors.
  static var landmarks: [String] { get }
  /// Buffers that networks make again, by the last component of their names.
  static var buffers: Set<String> { get }

  /// Infers the configuration and checks every tensor's name and shape.
  ///
  /// - Throws: `WeightMismatch` for the first tensor that differs.
  init(_ weights: inout WeightReader, sites: inout SiteList) throws

  /// Returns the summary of the network that the tensors are those of.
  ///
  /// - Throws: as the initializer does.
  static func summary(of weights: WeightReader) throws -> String

  var graph: NetworkGraph { get }
  var traits: NetworkTraits { get }
  var scale: Int { get }
  /// Channels of the input and of the output.
  var channelCount: Int { get }
  /// Tiles must begin at multiples of this many pixels for their windows to be those of the image.
  var windowPeriod: Int { get }
  /// With this many pixels around a tile, its result is that of the whole image but for rounding;
  /// `nil` where every pixel depends on all others.
  var exactOverlap: Int? { get }
  /// A description such as `SwinIR ×2, 60 channels, 24 blocks`.
  var summary: String { get }
  /// Assumptions and deviations from the published networks: lower-case sentences without a final
  /// period.
  var remarks: [String] { get }
}

extension Architecture {
  var buffers: Set<String> { Self.buffers }
}
