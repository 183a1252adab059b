import Formats
import Ranks
import Reports
import Storage
import Synchronization
import Transform

/// Whether a packed file was made from exactly one source: by digests, and by making a random
/// sample of its records again.
///
/// A file that differs from what the source gives in one of n records is found out by a sample of m
/// with probability m / n; the seed says which records were drawn, so that others can repeat it.
public struct DerivationReport: Codable, Hashable, Sendable {
  /// The path of the source as the user gave it.
  public let source: String
  /// The source's SHA-256; for several files, that of the list of their digests.
  public let sourceSHA256: String
  /// The digest that the packed file's header names; `nil` if it names none.
  public let expectedSHA256: String?
  /// The seed by which records were drawn.
  public let seed: Int
  /// The number of records in the file.
  public let recordCount: Int
  /// The number of records that were made again.
  public let checkedCount: Int
  /// The records that differ or could not be made, in file order.
  public let deviations: [Deviation]
  /// The path of the statement that was checked; `nil` without one.
  public let statement: String?
  /// What the statement says that is not so, as lower-case sentences; empty without a statement.
  public let contradictions: [String]

  /// A record that the source and the recipe do not give.
  public struct Deviation: Codable, Hashable, Sendable {
    /// The tensor.
    public let tensor: String
    /// The first differing byte in the file, or the record's first byte.
    public let offset: Int
    /// The difference, or why the record could not be made, in one line.
    public let message: String
  }

  /// Whether nothing speaks against it.
  public var isDerived: Bool {
    expectedSHA256 == sourceSHA256 && deviations.isEmpty && contradictions.isEmpty
  }

  /// How many records are made again.
  package enum Sample: Hashable, Sendable {
    case count(Int)
    case all
  }

  /// Makes records of an intact file again.
  ///
  /// - Parameters:
  ///   - source: The path of the source, for the report.
  ///   - archive: The source, with the part that was packed and the edits that were made.
  ///   - reproduction: The packing of `archive` by the file's recipe.
  ///   - statement: A statement about the file, and its path.
  /// - Throws: `ModelError` when the source or the file cannot be read.
  package init(
    of model: PackedModel, from source: String, _ archive: TensorArchive,
    by reproduction: PackedReproduction, sample: Sample, seed: Int,
    statement: (path: String, statement: DerivationStatement)? = nil, workers: Workers
  ) throws {
    let entries = model.header.entries
    let drawn = Self.drawn(sample, of: entries.count, seed: seed)
    let found = Mutex([Deviation?](repeating: nil, count: drawn.count))
    try workers.tasks(drawn.count) { index in
      let deviation = try Self.deviation(of: entries[drawn[index]], in: model, reproduction)
      found.withLock { $0[index] = deviation }
    }
    self.source = source
    sourceSHA256 = try PackedHeader.Source(
      archive, root: model.header.source?.root, runningTasks: workers.tasks
    ).sha256
    expectedSHA256 = model.header.source?.sha256
    self.seed = seed
    recordCount = entries.count
    checkedCount = drawn.count
    deviations = found.withLock { $0.compactMap { $0 } }
    self.statement = statement?.path
    contradictions =
      try statement.map {
        try $0.statement.contradictions(to: DerivationStatement(of: model, named: ""))
      } ?? []
  }

  private static func deviation(
    of entry: PackedEntry, in model: PackedModel, _ reproduction: PackedReproduction
  ) throws -> Deviation? {
    let stored = try model.file.bytes(
      at: entry.offset, count: entry.byteCount, purpose: "its record")
    do {
      // Records are compared byte by byte: another content may have the same CRC-32.
      let made = try reproduction.record(of: entry)
      guard !made.elementsEqual(stored) else { return nil }
      return Deviation(
        tensor: entry.name, offset: entry.offset + made.firstDifference(stored),
        message: "the source gives another record")
    } catch {
      return Deviation(
        tensor: entry.name, offset: entry.offset, message: "it cannot be made again: \(error)")
    }
  }

  /// Returns the indices of the records that are made again, ascending.
  ///
  /// They are those with the smallest SHA-256 of the seed and the index, which nobody can choose
  /// without knowing the seed.
  static func drawn(_ sample: Sample, of count: Int, seed: Int) -> [Int] {
    guard case .count(let wanted) = sample, wanted < count else { return Array(0..<count) }
    let keyed = (0..<count).map { index in
      (key: SharedBytes(Array("\(seed)/\(index)".utf8)).sha256, index: index)
    }
    return keyed.sorted { ($0.key, $0.index) < ($1.key, $1.index) }.prefix(wanted).map(\.index)
      .sorted()
  }
}

extension DerivationReport {
  var facts: [ReportDocument.Fact] {
    var facts: [ReportDocument.Fact] = [
      .init("derived from", source),
      .init(
        "source's digest",
        expectedSHA256 == nil
          ? "the header names none"
          : expectedSHA256 == sourceSHA256 ? "as in the header" : "ANOTHER SOURCE"),
      .init("records made again", "\(checkedCount) of \(recordCount), seed \(seed)"),
      .init("records that differ", .integer(deviations.count), kind: .integer),
    ]
    if let statement {
      facts.append(.init("statement", contradictions.isEmpty ? statement : "\(statement): FALSE"))
    }
    return facts
  }

  var tables: [ReportTable] {
    [
      ReportTable(
        title: "Records that the source does not give",
        columns: [
          .init(key: "tensor", heading: "tensor", kind: .text),
          .init(key: "offset", heading: "at byte", kind: .integer),
          .init(key: "message", heading: "difference", kind: .text),
        ], rows: deviations.map { [.text($0.tensor), .integer($0.offset), .text($0.message)] }),
      ReportTable(
        title: "What the statement says that is not so",
        columns: [.init(key: "contradiction", heading: "", kind: .text)],
        rows: contradictions.map { [.text($0)] }),
    ].withRows
  }
}
