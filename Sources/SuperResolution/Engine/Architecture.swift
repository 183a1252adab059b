import Formats
import Imaging
import Storage

/// A network architecture, whose configuration is inferred from the names and shapes of a
/// checkpoint's tensors.
///
/// Each architecture has its own folder; `Architectures.all` lists them.
protocol Architecture: Sendable {
  static var name: String { get }
  /// Parts of tensor names that only this architecture has. They tell which architecture a
  /// checkpoint is closest to.
  static var landmarks: [String] { get }

  /// Infers the configuration, checks every tensor, and prepares the weights.
  ///
  /// - Throws: `WeightMismatch` for the first tensor that differs.
  init(_ weights: inout WeightReader, sites: inout SiteList) throws

  var scale: Int { get }
  /// Channels of the input and of the output.
  var channelCount: Int { get }
  /// Tiles must begin at multiples of this many pixels for their windows to be those of the image.
  var windowPeriod: Int { get }
  /// With this many pixels around a tile, its result equals that of the whole image; `nil` where
  /// every pixel depends on all others.
  var exactOverlap: Int? { get }
  /// A description such as `SwinIR ×2, 60 channels, 24 blocks`.
  var summary: String { get }
  /// Assumptions and deviations from the published networks: lower-case sentences without a final
  /// period.
  var remarks: [String] { get }

  /// Upscales one image whose number of channels has been checked.
  ///
  /// - Throws: `ModelError` when the image has too few pixels, and the errors of an observer.
  func run(_ image: Image, _ context: ForwardContext) throws -> Image
}

extension Architecture {
  var remarks: [String] { [] }
}

enum Architectures {
  static let all: [any Architecture.Type] = [SwinIR.self, DAT.self]

  /// Returns the architecture that `archive` fits, with its weights and sites.
  ///
  /// - Throws: `ModelError` that names the closest architecture and the first difference.
  static func load(_ archive: TensorArchive) throws -> (any Architecture, SiteList) {
    var closest: (name: String, likeness: Int, mismatch: WeightMismatch)?
    for architecture in all {
      var weights = WeightReader(archive)
      var sites = SiteList()
      do {
        return (try architecture.init(&weights, sites: &sites), sites)
      } catch let mismatch as WeightMismatch {
        let likeness = archive.tensors.keys.count { name in
          architecture.landmarks.contains { name.contains($0) }
        }
        if closest.map({ likeness > $0.likeness }) ?? true {
          closest = (architecture.name, likeness, mismatch)
        }
      }
    }
    guard let closest else { throw ModelError("no architecture is known") }
    throw ModelError(
      "not a network that can be run: the closest is \(closest.name), but the tensor "
        + "'\(closest.mismatch.tensor)' \(closest.mismatch.problem)")
  }
}
