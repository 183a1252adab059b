import FoundationEssentials
import Glibc
import Storage
import Synchronization

/// What a conversion has done so far, in a file beside its output.
///
/// JSON lines: the plan, then a line a record in its place, with its checksum, and a line a source
/// that was consumed. Lines are only ever appended, so whatever ends the process leaves a journal that
/// is true; a last line without its end is no line. Which records are really in the partial file their
/// checksums say.
final class ConversionJournal: Sendable {
  let path: String
  private let descriptor: Int32
  private let hasFailed = Mutex(false)

  /// Where the journal of `output` is that has the plan: of a process alone, or of rank 0.
  static func path(of output: String) -> String { path(of: output, suffix: ".journal") }

  /// Where another rank keeps its own; several machines cannot append to one file.
  static func path(of output: String, rank: Int) -> String {
    path(of: output, suffix: "\(rankSuffix)\(rank)")
  }

  /// Beside the partial file: where the output is a link, both are with what it leads to.
  static func path(of output: String, suffix: String) -> String {
    OutputDestination.resolved(output) + suffix
  }

  /// What follows the output's path in those of ranks' journals, before the number.
  static let rankSuffix = ".journal-rank-"

  /// The files beside `output` whose paths begin with its own and `suffix`, sorted.
  ///
  /// - Parameter isOne: whether what follows in the path makes it one of them.
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
    // That with the plan first: without it the others say nothing.
    unlink(path(of: output))
    for path in (try? paths(beside: output, suffix: rankSuffix)) ?? [] { unlink(path) }
  }

  /// Begins a journal, in the place of an earlier one.
  ///
  /// - Parameter plan: that of the conversion, or a reference to it.
  /// - Throws: `ModelError` when it cannot be written.
  convenience init(beginningAt path: String, with plan: JSONValue) throws {
    try self.init(opening: path, creates: true)
    try begin(with: plan)
  }

  /// Goes on with a journal.
  ///
  /// - Parameter wholeByteCount: where its last whole line ends.
  convenience init(continuingAt path: String, wholeByteCount: Int) throws {
    try self.init(opening: path, creates: false)
    try cut(at: wholeByteCount)
  }

  /// Goes on with the journal at `path` where it begins with `head`, and begins one in the place of any
  /// other; nobody else may write it meanwhile.
  ///
  /// - Parameters:
  ///   - refusal: what is said when another process writes it.
  ///   - check: throws where one with another first line is to stay.
  /// - Returns: the journal, and what it says; `nil` where it was begun.
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
    // Its name, too.
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
      // After half a line no other line may follow.
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
  /// - Throws: `ModelError` when the disk fails, and when the journal has been removed meanwhile.
  func synchronize() throws {
    try PositionalFile(path: path, descriptor: descriptor).synchronize()
  }
}

/// What a journal says.
struct JournalContent: Sendable {
  /// The first line; `nil` where it is damaged.
  let head: JSONValue?
  let results: [RecordNote]
  /// Paths of sources that are deleted, or may be.
  let consumedFiles: [String]
  /// The numbers of lines, counted from one, that say nothing because they are damaged.
  let damagedLines: [Int]
  /// Where the last whole line ends.
  let wholeByteCount: Int

  /// - Returns: `nil` when there is no journal, or none with a whole first line.
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

  /// The plan that a conversion's journal begins with.
  ///
  /// - Throws: `ModelError` when there is none that this program knows.
  func plan() throws -> ConversionPlan {
    guard let head else { throw ModelError.malformed("its first line is damaged") }
    return try ConversionPlan(parsing: head)
  }

  /// Refuses a journal one of whose damaged lines may be the only word of what was consumed.
  ///
  /// Where nothing was, the record that such a line spoke of is simply made again.
  ///
  /// - Parameter plan: of the conversion, where that can be read.
  /// - Throws: `ModelError` that says what to do.
  func refuseDamage(of plan: ConversionPlan?, path: String) throws {
    guard let line = damagedLines.first else { return }
    let isConsumed =
      plan.map { $0.sources.contains(where: \.isGone) } ?? damagedLines.contains { $0 > 1 }
    guard isConsumed || !consumedFiles.isEmpty else { return }
    throw ModelError.malformed(
      "line \(line) is damaged, and the partial file may be the only copy of files that were consumed: "
        + (line > 1
          ? "remove that line and repeat the command, which says what is lost, if anything is, or "
          : "put it back from a copy, or ")
        + "remove the journal to give them up", path: path)
  }

  /// - Parameter reason: why the journal is of no use.
  /// - Throws: `ModelError` when beginning anew would lose what was consumed.
  func refuseToDiscard(_ reason: String, path: String) throws {
    try refuseDamage(of: try? plan(), path: path)
    guard consumedFiles.isEmpty else {
      throw ModelError.unsupported(
        "\(reason), but it has the content of \(counted(consumedFiles.count, "consumed file")): "
          + "repeat the command that wrote it, or remove it", path: path)
    }
  }

  /// The first line alone; `nil` where there is no whole one of at most 4 KiB.
  ///
  /// - Throws: `ModelError` when it cannot be read, or is not a journal's.
  static func head(path: String) throws -> JSONValue? {
    let file = try InputFile(path: path, access: .read)
    let bytes = try file.bytes(at: 0, count: min(file.byteCount, 4096), purpose: "the journal")
    let end = bytes.withUnsafeBytes { $0.firstIndex(of: UInt8(ascii: "\n")) }
    return try locatingErrors(path: path) {
      try end.map { try JSONDocument.parse(bytes.slice(0..<$0)) }
    }
  }
}
