import Formats
import Imaging
import Storage

/// A kind of network: its configuration is read off the names and shapes of a checkpoint.
///
/// One folder holds one of them; `Architectures.all` lists them.
protocol Architecture: Sendable {
  static var name: String { get }
  /// Parts of tensors' names that only this architecture has, which say what a checkpoint is close to.
  static var landmarks: [String] { get }

  /// Infers the configuration, checks every tensor, and gets the weights ready.
  ///
  /// - Throws: `WeightMismatch` for the first tensor that differs.
  init(_ weights: inout WeightReader, sites: inout SiteList) throws

  var scale: Int { get }
  /// Channels of pictures taken and given.
  var channelCount: Int { get }
  /// A tile must begin at a multiple of this many pixels for its windows to be those of the picture.
  var windowPeriod: Int { get }
  /// With this many pixels around a tile its result is that of the whole picture; `nil` where every
  /// pixel depends on all others.
  var exactOverlap: Int? { get }
  /// In words, such as `SwinIR ×2, 60 channels, 24 blocks`.
  var summary: String { get }
  /// What was assumed, or is unlike the published networks: lower-case sentences without an end.
  var remarks: [String] { get }

  /// Enlarges one picture; the number of channels is the right one.
  ///
  /// - Throws: `ModelError` when it has too few pixels; what an observer throws.
  func run(_ picture: Picture, _ context: ForwardContext) throws -> Picture
}

extension Architecture {
  var remarks: [String] { [] }
}

enum Architectures {
  static let all: [any Architecture.Type] = [SwinIR.self, DAT.self]

  /// The architecture that `archive` fits, with its weights and sites.
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
