import Formats
import Storage

/// The architectures that are known.
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
