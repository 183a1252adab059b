import Formats
import Storage

/// The architectures that are known.
enum Architectures {
  static let all: [any Architecture.Type] = [
    GraphNetwork<SwinIR>.self, DAT.self, GraphNetwork<RRDBNet>.self, GraphNetwork<SRVGGNet>.self,
    GraphNetwork<SPAN>.self, GraphNetwork<EDSR>.self, GraphNetwork<RCAN>.self,
    GraphNetwork<RLFN>.self, GraphNetwork<RealPLKSR>.self, GraphNetwork<SAFMN>.self,
    GraphNetwork<MoSR>.self, GraphNetwork<HAT>.self, GraphNetwork<OmniSR>.self,
  ]

  /// Returns a description of the network that `archive` holds, such as `RRDBNet ×4, 64 channels, 23
  /// blocks`; `nil` if it is none that can be run.
  static func summary(of archive: TensorArchive) -> String? {
    for architecture in all {
      if let summary = try? architecture.summary(of: WeightReader(archive)) { return summary }
    }
    return nil
  }

  /// Returns the architecture that `archive` fits, with its weights and sites.
  ///
  /// - Throws: `ModelError` that names the closest architecture and the first difference.
  static func load(_ archive: TensorArchive) throws -> (any Architecture, SiteList) {
    var closest: (name: String, likeness: (Int, Int), mismatch: WeightMismatch)?
    for architecture in all {
      var weights = WeightReader(archive)
      var sites = SiteList()
      do {
        return (try architecture.init(&weights, sites: &sites), sites)
      } catch let mismatch as WeightMismatch {
        let marked = archive.tensors.keys.count { name in
          architecture.landmarks.contains { name.contains($0) }
        }
        let likeness = (marked, weights.taken.count)
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
