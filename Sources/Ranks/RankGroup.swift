import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// The processes started together by a launcher such as `mpirun`, including this one.
///
/// Every rank runs the same program. Only rank 0 reads standard input, plans, prints and names the
/// output. A process without a launcher is rank 0 of a group of one and behaves the same.
package struct RankGroup: Sendable {
  /// The group of a single process.
  package static let alone = RankGroup(nil)

  let link: (any RankLink)?

  package init(_ link: (any RankLink)?) {
    self.link = link
  }

  /// The index of this process among the ranks, from 0.
  package var rank: Int { link?.rank ?? 0 }
  package var count: Int { link?.count ?? 1 }
  package var isRoot: Bool { rank == 0 }
  /// Whether a supported launcher started this process.
  package var hasLauncher: Bool { link != nil }
  /// Whether there are other ranks to share work with.
  package var isShared: Bool { count > 1 }

  /// Returns rank 0's value at every rank. All ranks must call it.
  ///
  /// - Parameter value: The value to send; ignored at the other ranks.
  /// - Throws: `EncodingError` or `DecodingError` for values that cannot be sent.
  package func broadcast<Value: Codable>(_ value: Value?) throws -> Value {
    guard let link else {
      guard let value else { preconditionFailure("rank 0 has the value") }
      return value
    }
    let bytes = try link.broadcast(isRoot ? RankMessage.bytes(of: value) : [])
    guard isRoot, let value else { return try RankMessage.value(of: bytes) }
    return value
  }

  /// Leaves the group once all ranks have called this. It must be the last call.
  package func finish() { link?.finish() }

  /// Ends all ranks because this one cannot continue.
  ///
  /// - Parameters:
  ///   - code: The launcher's exit code.
  ///   - explain: Prints the reason. It is called at one rank only, even if several fail.
  package func fail(code: Int32, explaining explain: () -> Void) -> Never {
    guard let link else {
      explain()
      exit(code)
    }
    if link.claim() {
      explain()
    } else {
      // Another rank prints its explanation and then ends this one.
      sleep(60)
    }
    link.abort(code: code)
  }
}

/// The encoding of transmitted values: binary property lists, which hold every number exactly, even
/// infinite ones.
enum RankMessage {
  /// A container, because a property list must begin with one.
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

/// An error caused by ranks that do different work, such as different builds of the program.
package struct RankError: Error, Hashable, CustomStringConvertible {
  /// The rank that sent unexpected results; `nil` if results are missing.
  let rank: Int?

  package var description: String {
    rank.map { "rank \($0) sent results of other work: all ranks must run the same program" }
      ?? "results are missing: all ranks must run the same program"
  }
}

extension RankGroup {
  /// Returns the path of the library that connects ranks by MPI: the one named by the environment,
  /// or the one that `make mpi` puts next to the program.
  private static func libraryPath(environment: [String: String]) -> String? {
    if let path = environment["CONDI_MPI_LIBRARY"] { return path }
    let program = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    let path = program.deletingLastPathComponent().appending(path: "libcondi-mpi.so").path
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }

  /// Whether a library that connects ranks is available.
  package static func isSupported(environment: [String: String]) -> Bool {
    libraryPath(environment: environment) != nil
  }

  /// Returns the group that a launcher started this process in.
  ///
  /// This is Open MPI's group if its library is available and the environment shows that `mpirun`,
  /// or `srun` with PMIx or PMI, started the process; otherwise it is the process alone. Call this
  /// once, after signal handlers are installed.
  ///
  /// - Throws: An error that names the library if it cannot be loaded.
  package static func launched(environment: [String: String]) throws -> RankGroup {
    let launchers = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"]
    guard launchers.contains(where: { environment[$0] != nil }),
      let path = libraryPath(environment: environment)
    else { return .alone }
    return RankGroup(try MPILink(libraryPath: path))
  }
}

/// The communication among the ranks of a group, independent of the transport.
///
/// Calls may come from any thread. All ranks make the calls marked collective, in the same order.
package protocol RankLink: Sendable {
  /// The index of this process among the ranks, from 0.
  var rank: Int { get }
  var count: Int { get }

  /// Increments a counter of the group and returns its previous value.
  func take() -> Int
  /// Sets the counter to zero. Collective.
  func resetCounter()
  /// Whether this is the first call among all ranks.
  func claim() -> Bool

  /// Returns rank 0's bytes. Collective.
  ///
  /// - Parameter bytes: The bytes to send; ignored at the other ranks.
  func broadcast(_ bytes: [UInt8]) -> [UInt8]
  /// Returns the bytes of every rank in rank order at rank 0, and nothing at the others.
  /// Collective.
  func gather(_ bytes: [UInt8]) -> [[UInt8]]

  /// Ends the processes of all ranks.
  func abort(code: Int32) -> Never
  /// Leaves the group. Collective, and the last call.
  func finish()
}
