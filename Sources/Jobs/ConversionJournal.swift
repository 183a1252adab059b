import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// The record of a conversion's progress, in a file beside its output.
///
/// It consists of JSON lines: the plan, then one line per written record with its checksum, and one
/// line per consumed source. Lines are only ever appended, so the journal is correct whenever the
/// process ends; an unterminated last line is ignored. The checksums tell which records really are
/// in the partial file.
final class ConversionJournal: Sendable {
  let path: String
  private let descriptor: Int32
  private let hasFailed = Mutex(false)

  /// Returns the path of the journal of `output` that holds the plan: that of a single process or
  /// rank 0.
  static func path(of output: String) -> String { path(of: output, suffix: ".journal") }

  /// Returns the path of another rank's journal; several machines cannot append to one file.
  static func path(of output: String, rank: Int) -> String {
    path(of: output, suffix: "\(rankSuffix)\(rank)")
  }

  /// Returns a path beside the partial file; if the output is a link, both lie beside its target.
  static func path(of output: String, suffix: String) -> String {
    OutputDestination.resolved(output) + suffix
  }

  /// The part of a rank journal's path between the output's path and the rank's number.
  static let rankSuffix = ".journal-rank-"

  /// Returns the files beside `output` whose paths begin with its own and `suffix`, sorted.
  ///
  /// - Parameter isOne: whether the rest of a path identifies such a file.
  static func paths(
    beside output: String, suffix: String, where isOne: (Substring) -> Bool = { _ in true }
  ) throws -> [String] {
    let path = path(of: output, suffix: suffix)
    let (folder, prefix) = (path.deletingLastPathComponent, path.lastPathComponent)
    return try FileManager.default.contentsOfDirectory(atPath: folder)
      .filter { $0.hasPrefix(prefix) && isOne($0.dropFirst(prefix.count)) }
      .sorted().map { "\(folder)/\($0)" }
  }

  /// Removes every journal of a conversion to `output`.
  static func removeAll(of output: String) {
    // The one with the plan goes first: without it the others mean nothing.
    unlink(path(of: output))
    for path in (try? paths(beside: output, suffix: rankSuffix)) ?? [] { unlink(path) }
  }

  /// Begins a journal, replacing an earlier one.
  ///
  /// - Parameter plan: the conversion's plan, or a reference to it.
  /// - Throws: `ModelError` when it cannot be written.
  convenience init(beginningAt path: String, with plan: JSONValue) throws {
    try self.init(opening: path, creates: true)
    try begin(with: plan)
  }

  /// Continues a journal.
  ///
  /// - Parameter wholeByteCount: the end of its last whole line.
  convenience init(continuingAt path: String, wholeByteCount: Int) throws {
    try self.init(opening: path, creates: false)
    try cut(at: wholeByteCount)
  }

  /// Continues the journal at `path` if it begins with `head`, or replaces it with a new one; no
  /// other process may write it meanwhile.
  ///
  /// - Parameters:
  ///   - refusal: the error's message when another process is writing it.
  ///   - check: throws if a journal with another first line must stay.
  /// - Returns: the journal and its results; `nil` results if it was begun.
  /// - Throws: `ModelError` when it cannot be written.
  static func alone(
    at path: String, head: JSONValue, refusal: String,
    replacing check: (_ head: JSONValue) throws -> Void = { _ in }
  ) throws -> (journal: ConversionJournal, results: [RecordNote]?) {
    let journal = try ConversionJournal(opening: path, creates: true)
    guard
      flock(journal.descriptor, LOCK_EX | LOCK_NB) == 0
        || errno != EWOULDBLOCK  // a file system without locks
    else { throw ModelError.unsupported(refusal, path: path) }
    let content = try JournalContent(path: path)
    guard let content, content.head == head else {
      try content?.head.map(check)
      try journal.begin(with: head)
      return (journal, nil)
    }
    try journal.cut(at: content.wholeByteCount)
    return (journal, content.results)
  }

  private init(opening path: String, creates: Bool) throws {
    self.path = path
    descriptor = open(
      path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | (creates ? O_CREAT : 0), 0o666)
    guard descriptor >= 0 else {
      throw ModelError(
        .system(operation: creates ? "create the file" : "open", code: errno), path: path)
    }
  }

  private func begin(with head: JSONValue) throws {
    try cut(at: 0)
    try append(head)
    try synchronize()
    // The name must be durable as well.
    OutputDestination.synchronizeFolder(of: path)
  }

  private func cut(at byteCount: Int) throws {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      throw ModelError(.system(operation: "write", code: errno), path: path)
    }
  }

  deinit { close(descriptor) }

  /// Appends one line, from any thread.
  func append(_ json: JSONValue) throws {
    let line = Array("\(json.serialized())\n".utf8)
    try hasFailed.withLock { hasFailed in
      // No other line may follow an incomplete one.
      guard !hasFailed else {
        throw ModelError(.system(operation: "write", code: EIO), path: path)
      }
      var rest = line[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else {
          hasFailed = true
          throw ModelError(
            .system(operation: "write", code: count == 0 ? ENOSPC : errno), path: path)
        }
        rest = rest.dropFirst(count)
      }
    }
  }

  /// Makes all lines durable.
  ///
  /// - Throws: `ModelError` when the disk fails or the journal has been removed meanwhile.
  func synchronize() throws {
    try PositionalFile(path: path, descriptor: descriptor).synchronize()
  }
}

/// The content of a journal.
struct JournalContent: Sendable {
  /// The first line; `nil` if it is damaged.
  let head: JSONValue?
  let results: [RecordNote]
  /// The paths of sources that are deleted, or may be.
  let consumedFiles: [String]
  /// The numbers, counted from one, of damaged lines.
  let damagedLines: [Int]
  /// The end of the last whole line.
  let wholeByteCount: Int

  /// - Returns: `nil` when there is no journal or its first line is incomplete.
  /// - Throws: `ModelError` when it cannot be read.
  init?(path: String) throws {
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    let file = try InputFile(path: path, access: .read)
    let bytes = try file.bytes(at: 0, count: file.byteCount, purpose: "the journal")
    var lines: [Range<Int>] = []
    var start = 0
    bytes.withUnsafeBytes { buffer in
      for (index, byte) in buffer.enumerated() where byte == UInt8(ascii: "\n") {
        lines.append(start..<index)
        start = index + 1
      }
    }
    guard let first = lines.first else { return nil }
    wholeByteCount = start
    head = try? JSONDocument.parse(bytes.slice(first))
    var results: [RecordNote] = []
    var consumedFiles: [String] = []
    var damagedLines = head == nil ? [1] : []
    for (index, line) in lines.enumerated().dropFirst() {
      guard let json = try? JSONDocument.parse(bytes.slice(line)) else {
        damagedLines.append(index + 1)
        continue
      }
      if case .object(let members) = json, case .string(let file)? = members["consumed"] {
        consumedFiles.append(file)
      } else if let result = try? RecordNote(parsing: json) {
        results.append(result)
      } else {
        damagedLines.append(index + 1)
      }
    }
    self.results = results
    self.consumedFiles = consumedFiles
    self.damagedLines = damagedLines
  }

  /// Returns the plan with which a conversion's journal begins.
  ///
  /// - Throws: `ModelError` when there is no plan that this program can read.
  func plan() throws -> ConversionPlan {
    guard let head else { throw ModelError.malformed("its first line is damaged") }
    return try ConversionPlan(parsing: head)
  }

  /// Rejects a journal if a damaged line may be the only record of consumed files.
  ///
  /// If nothing was consumed, the records of damaged lines are simply made again.
  ///
  /// - Parameter plan: the conversion's plan, if it can be read.
  /// - Throws: `ModelError` that says what to do.
  func refuseDamage(of plan: ConversionPlan?, path: String) throws {
    guard let line = damagedLines.first else { return }
    let isConsumed =
      plan.map { $0.sources.contains(where: \.isGone) } ?? damagedLines.contains { $0 > 1 }
    guard isConsumed || !consumedFiles.isEmpty else { return }
    throw ModelError.malformed(
      "line \(line) is damaged, and the partial file may be the only copy of files that were consumed: "
        + (line > 1
          ? "remove that line and repeat the command, which says what is lost, if anything, or "
          : "put it back from a copy, or ")
        + "remove the journal to give them up", path: path)
  }

  /// - Parameter reason: why the journal cannot be used.
  /// - Throws: `ModelError` when beginning anew would lose the content of consumed files.
  func refuseToDiscard(_ reason: String, path: String) throws {
    try refuseDamage(of: try? plan(), path: path)
    guard consumedFiles.isEmpty else {
      throw ModelError.unsupported(
        "\(reason), but it holds the content of \(counted(consumedFiles.count, "consumed file")): "
          + "repeat the command that wrote it, or remove it", path: path)
    }
  }

  /// Reads only the first line; returns `nil` if it is incomplete or longer than 4 KiB.
  ///
  /// - Throws: `ModelError` when it cannot be read or is not that of a journal.
  static func head(path: String) throws -> JSONValue? {
    let file = try InputFile(path: path, access: .read)
    let bytes = try file.bytes(at: 0, count: min(file.byteCount, 4096), purpose: "the journal")
    let end = bytes.withUnsafeBytes { $0.firstIndex(of: UInt8(ascii: "\n")) }
    return try locatingErrors(path: path) {
      try end.map { try JSONDocument.parse(bytes.slice(0..<$0)) }
    }
  }
}
