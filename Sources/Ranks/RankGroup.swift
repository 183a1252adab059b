import Foundation

/// The processes that a launcher such as `mpirun` started together, of which this is one.
///
/// Every rank runs the same program; rank 0 is the one that reads standard input, plans, prints and
/// gives the output its name. A process on its own is rank 0 of one, and nothing is different.
package struct RankGroup: Sendable {
  /// Of one process.
  package static let alone = RankGroup(nil)

  let link: (any RankLink)?

  package init(_ link: (any RankLink)?) {
    self.link = link
  }

  /// Which of the ranks this process is, from 0.
  package var rank: Int { link?.rank ?? 0 }
  package var count: Int { link?.count ?? 1 }
  package var isRoot: Bool { rank == 0 }
  /// Whether a launcher that it knows has started this process.
  package var hasLauncher: Bool { link != nil }
  /// Whether there are others to share work with.
  package var isShared: Bool { count > 1 }

  /// Rank 0's value, at every rank; all of them must call it.
  ///
  /// - Parameter value: ignored at the other ranks.
  /// - Throws: `EncodingError` and `DecodingError` for values that cannot be sent.
  package func broadcast<Value: Codable>(_ value: Value?) throws -> Value {
    guard let link else {
      guard let value else { preconditionFailure("rank 0 has the value") }
      return value
    }
    let bytes = try link.broadcast(isRoot ? RankMessage.bytes(of: value) : [])
    guard isRoot, let value else { return try RankMessage.value(of: bytes) }
    return value
  }

  /// Leaves the group when all ranks have come here; the last call.
  package func finish() { link?.finish() }

  /// Ends all ranks, because this one cannot go on.
  ///
  /// - Parameters:
  ///   - code: what the launcher is to end with.
  ///   - explain: says why; called at one rank only, whatever happens at others meanwhile.
  package func fail(code: Int32, explaining explain: () -> Void) -> Never {
    guard let link else {
      explain()
      exit(code)
    }
    if link.claim() {
      explain()
    } else {
      // Another rank is ending this one, after its words.
      sleep(60)
    }
    link.abort(code: code)
  }
}

/// Values as they travel: as binary property lists, which hold every number exactly, infinite ones too.
enum RankMessage {
  /// Property lists begin with a container.
  private struct Envelope<Value: Codable>: Codable {
    let value: Value
  }

  static func bytes<Value: Codable>(of value: Value) throws -> [UInt8] {
    let encoder = PropertyListEncoder()
    encoder.outputFormat = .binary
    return Array(try encoder.encode(Envelope(value: value)))
  }

  static func value<Value: Codable>(of bytes: [UInt8]) throws -> Value {
    try PropertyListDecoder().decode(Envelope<Value>.self, from: Data(bytes)).value
  }
}
