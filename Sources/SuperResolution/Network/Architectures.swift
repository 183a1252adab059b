import Formats
import Storage

/// The architectures that are known.
enum Architectures {
  /// Those that tensors are recognized by.
  static let all: [any Architecture.Type] = [
    GraphNetwork<SwinIR>.self, GraphNetwork<DAT>.self, GraphNetwork<RRDBNet>.self,
    GraphNetwork<SRVGGNet>.self, GraphNetwork<SPAN>.self, GraphNetwork<EDSR>.self,
    GraphNetwork<RCAN>.self,
    GraphNetwork<RLFN>.self, GraphNetwork<RealPLKSR>.self, GraphNetwork<SAFMN>.self,
    GraphNetwork<MoSR>.self, GraphNetwork<HAT>.self, GraphNetwork<OmniSR>.self,
    GraphNetwork<Swin2SR>.self, GraphNetwork<HiTSR>.self, GraphNetwork<NGswin>.self,
    GraphNetwork<DRCT>.self,
  ]

  /// The architectures that an archive may be of: one with a description of its own is that.
  private static func candidates(_ archive: TensorArchive) -> [any Architecture.Type] {
    archive.values[NCNNFormat.descriptionKey] == nil ? all : [GraphNetwork<NCNNNetwork>.self]
  }

  /// Returns a description of the network that `archive` holds, such as `RRDBNet ×4, 64 channels, 23
  /// blocks`; `nil` if no architecture matches.
  static func summary(of archive: TensorArchive) -> String? {
    for architecture in candidates(archive) {
      if let summary = try? architecture.summary(of: WeightReader(archive)) { return summary }
    }
    return nil
  }

  /// Returns the architecture that `archive` fits, with its sites.
  ///
  /// - Throws: `ModelError` that names the closest architecture and the first difference.
  static func load(_ archive: TensorArchive) throws -> (any Architecture, SiteList) {
    var closest: (name: String, likeness: Likeness, mismatch: WeightMismatch)?
    let names = NameText(archive.tensors.keys)
    for architecture in candidates(archive) {
      var weights = WeightReader(archive)
      var sites = SiteList()
      do {
        return (try architecture.init(&weights, sites: &sites), sites)
      } catch let mismatch as WeightMismatch {
        let likeness = Likeness(
          names, landmarks: architecture.landmarks, takenCount: weights.taken.count)
        if closest.map({ $0.likeness < likeness }) ?? true {
          closest = (architecture.name, likeness, mismatch)
        }
      }
    }
    guard let closest else { throw ModelError("no architecture is known") }
    throw ModelError(
      "not a network that can be run: the closest is \(closest.name), but the tensor "
        + "'\(closest.mismatch.tensor)' \(closest.mismatch.problem)"
    ).offering(.networks)
  }
}

/// The names of all tensors, in which parts of names are looked for byte by byte: a search of
/// `String` compares characters, which is far slower.
private struct NameText {
  private let bytes: [UInt8]

  init(_ names: some Sequence<String>) {
    bytes = Array(names.joined(separator: "\n").utf8)
  }

  /// Whether `part` occurs in a name.
  func contains(_ part: String) -> Bool {
    let part = Array(part.utf8)
    guard let first = part.first, bytes.count >= part.count else { return part.isEmpty }
    return bytes.indices.dropLast(part.count - 1).contains { start in
      bytes[start] == first
        && part.indices.allSatisfy { bytes[start + $0] == part[$0] }
    }
  }
}

/// How close a checkpoint is to an architecture that it does not fit.
private struct Likeness: Comparable {
  /// The share of the architecture's landmarks that occur, and their number.
  private let share: Double
  private let foundCount: Int
  /// The tensors that fitted before the first that did not.
  private let takenCount: Int

  init(_ names: NameText, landmarks: [String], takenCount: Int) {
    foundCount = landmarks.count(where: names.contains)
    share = landmarks.isEmpty ? 0 : Double(foundCount) / Double(landmarks.count)
    self.takenCount = takenCount
  }

  static func < (a: Likeness, b: Likeness) -> Bool {
    (a.share, a.foundCount, a.takenCount) < (b.share, b.foundCount, b.takenCount)
  }
}
