import Formats
import FoundationEssentials
import LinearAlgebra
import Reports
import Storage
import SuperResolution

/// The differences between two model files of any formats.
///
/// ```swift
/// var options = DiffReport.Options()
/// options.tolerance = 1e-6
/// let (a, b) = try (FormatRegistry.standard.open("a.pth"), FormatRegistry.standard.open("b.pth"))
/// let report = try DiffReport(a, b, fileA: "a.pth", fileB: "b.pth", options: options)
/// print(report.isSame, report.verdict)
/// ```
public struct DiffReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/diff-report.schema.json`.
  package static let currentSchemaVersion = 2

  /// One of the two files and the extent of its comparison.
  public struct Side: Codable, Hashable, Sendable {
    /// The path as the user gave it.
    public var file: String
    /// `FormatIdentifier.name`; `nil` for archives made in memory.
    public var format: String?
    /// The number of tensors compared.
    public var tensorCount: Int
    /// The bytes of those tensors, counted once per name.
    public var tensorByteCount: Int
    /// Stored tensors that belong together, whether assembled or not; `nil` if there are none.
    public var groups: [TensorGroup]?
  }

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The first file, the base of the differences.
  public var a: Side
  /// The second file.
  public var b: Side
  /// The largest absolute difference that is ignored.
  public var tolerance: Double
  /// Tolerances that apply instead to tensors with certain names.
  package var tolerances: [NamedTolerance]
  /// Whether no tensor and no value differs and every name is in both files. Metadata is ignored,
  /// because it is free text specific to each format.
  public var isSame: Bool
  /// The result in one line.
  public var verdict: String
  /// Tensors that are equal under the same name, in A's order.
  public var same: [String]
  /// Tensors with the same name that differ, in A's order.
  public var changed: [TensorDifference]
  /// Tensors found under another name, in A's order.
  package var renamed: [RenamedTensor]
  /// Tensors with a different layout: transposed, fused or split.
  package var relaid: [RelaidTensor]
  /// Tensors of A without a counterpart in B, in A's order.
  package var onlyInA: [UnmatchedTensor]
  /// Tensors of B without a counterpart in A, in B's order.
  package var onlyInB: [UnmatchedTensor]
  /// Differences of leaves that are not tensors.
  package var values: [ValueDifference]
  /// Differences of free texts about the files as a whole, which do not affect the verdict.
  package var metadata: [ValueDifference]
  /// The differences of what both networks make of images; `nil` unless requested.
  public var outputs: OutputComparison?
}

extension DiffReport {
  /// The criteria of a comparison.
  public struct Options: Sendable {
    /// Patterns of the tensors to compare; empty for all. Each glob must match in at least one
    /// file. Values and metadata are compared only if this is empty.
    public var tensors: [NameGlob] = []
    /// Patterns of tensors and values to ignore. Each glob must match in at least one file.
    public var ignored: [NameGlob] = []
    /// The largest absolute difference that is ignored; not negative.
    public var tolerance = 0.0
    /// Tolerances that apply instead to tensors with certain names; the first match applies. Each
    /// glob must match a compared tensor.
    public var tolerances: [(glob: NameGlob, tolerance: Double)] = []
    /// Tolerances of tensors that A computes by itself, such as weights merged with an adapter, by
    /// name; they apply where no other tolerance is given.
    package var roundings: [String: Double] = [:]
    /// Whether equal numbers with different element types are equal.
    public var ignoresElementTypes = false
    /// Whether NaN differs from NaN, as in IEEE 754. Otherwise NaN equals NaN, whatever its bits.
    public var distinguishesNaN = false
    /// Whether tensors are equal that are only renamed, transposed, fused or split.
    public var acceptsOtherLayouts = false
    /// Whether to compute both condition numbers of each changed matrix.
    public var includesConditionNumbers = false
    /// The mapping from names of A to names of B. Globs are matched against the mapped names.
    public var names = NameMap()
    /// The number of threads, at least 1; the report does not depend on it.
    public var threads = ProcessInfo.processInfo.activeProcessorCount

    public init() {}

    func tolerance(for name: String) -> Double {
      tolerances.first { $0.glob.matches(name) }?.tolerance
        ?? max(tolerance, roundings[name] ?? 0)
    }

    func check() {
      precondition(
        tolerance >= 0 && tolerances.allSatisfy { $0.tolerance >= 0 }, "a tolerance is not negative"
      )
      precondition(threads >= 1, "at least one thread is needed")
    }
  }
}

/// The tolerance for tensors with names that match a pattern.
package struct NamedTolerance: Codable, Hashable, Sendable {
  /// The glob for the tensors' names.
  package var pattern: String
  /// The largest absolute difference that is ignored.
  package var tolerance: Double
}

extension DiffReport {
  /// The result in one line, composed from the rest of the report.
  var verdictLine: String {
    let layouts = [
      (renamed.count, "renamed"), (relaid.count, "laid out otherwise"),
    ].filter { $0.0 > 0 }.map { "\($0) \($1)" }
    guard !isSame else {
      let exceptions = layouts.isEmpty ? "" : ", \(layouts.joined(separator: ", "))"
      return "the same: \(counted(max(a.tensorCount, b.tensorCount), "tensor"))\(exceptions)"
    }
    var parts =
      changed.isEmpty ? [] : ["\(changed.count) of \(counted(a.tensorCount, "tensor")) changed"]
    parts += layouts
    parts += [(onlyInA.count, "only in A"), (onlyInB.count, "only in B")]
      .filter { $0.0 > 0 }.map { "\($0) \($1)" }
    if !values.isEmpty { parts.append(counted(values.count, "value") + " changed") }
    return "different: \(parts.joined(separator: ", "))"
  }

  /// The tensor that changed most, by its signal-to-noise ratio.
  var worst: String? {
    let measured = changed.compactMap { change in
      change.numbers.map { (name: change.name, numbers: $0) }
    }.filter { $0.numbers.signalToNoise.isFinite }
    guard let worst = measured.min(by: { $0.numbers.signalToNoise < $1.numbers.signalToNoise })
    else { return nil }
    return "\(ReportNumber.real(worst.numbers.signalToNoise)) dB in '\(worst.name)'"
  }
}

extension DiffReport {
  /// Compares archive `b`, the new one, with archive `a`, the old one, tensor by tensor.
  ///
  /// Tensors of the same type are equal if their bytes are equal or their numbers are equal up to
  /// the tolerance; numbers of different types are compared in double precision. Numbers are
  /// examined only if the bytes differ. Loaded data is bounded by the largest pair of tensors,
  /// regardless of the number of threads; condition numbers take a few times as much.
  ///
  /// - Parameters:
  ///   - fileA: The path of `a`, for the report.
  ///   - fileB: The path of `b`, for the report.
  ///   - progress: Called on any thread after each pair, with its bytes in `a`.
  /// - Throws: `ModelError` if a tensor cannot be read, all of them are ignored, or a glob or a
  ///   part of the name map matches nothing in either file; `LAPACKError` if singular values cannot
  ///   be computed.
  public init(
    _ archiveA: TensorArchive, _ archiveB: TensorArchive, fileA: String, fileB: String,
    options: Options = Options(), progress: (@Sendable (_ byteCount: Int) -> Void)? = nil
  ) throws {
    options.check()
    var pairing = try Pairing(archiveA, archiveB, options: options)
    guard pairing.hasTensors || (archiveA.tensors.isEmpty && archiveB.tensors.isEmpty) else {
      throw ModelError.mismatch(expected: "a tensor that is not ignored", found: "none")
    }
    let largest = pairing.pairs.map(\.byteCount).max() ?? 0
    let budget = MemoryBudget(limit: max(largest, Self.leastBudget))
    let outcomes = try Self.compare(pairing.pairs, options, budget, progress)
    let renames = try RenameSearch(threads: options.threads, budget: budget)
      .pairs(pairing.onlyInA, pairing.onlyInB)
    pairing.remove(renames)

    a = Self.side(archiveA, file: fileA, tensors: pairing.all.a)
    b = Self.side(archiveB, file: fileB, tensors: pairing.all.b)
    tolerance = options.tolerance
    tolerances = options.tolerances.map {
      NamedTolerance(pattern: $0.glob.pattern, tolerance: $0.tolerance)
    }
    same = []
    changed = []
    relaid = pairing.relaid
    for (pair, outcome) in zip(pairing.pairs, outcomes) {
      switch outcome {
      case .same: same.append(pair.a.original)
      case .transposed:
        relaid.append(
          RelaidTensor(
            namesA: [pair.a.original], namesB: [pair.b.original], change: .transposed))
      case .different(let difference): changed.append(difference)
      }
    }
    renamed = renames.map {
      RenamedTensor(
        nameA: $0.a.original, nameB: $0.b.original, elementType: $0.a.side.elementType,
        shape: $0.a.tensor.shape.dimensions)
    }
    onlyInA = pairing.onlyInA.map(Self.unmatched)
    onlyInB = pairing.onlyInB.map(Self.unmatched)
    let isIgnored = { (name: String) in options.ignored.contains { $0.matches(name) } }
    let comparesTexts = options.tensors.isEmpty
    values =
      comparesTexts
      ? ValueDifference.all(
        names: (Array(archiveA.values.keys) + archiveB.values.keys).filter { !isIgnored($0) },
        a: { archiveA.values[$0] }, b: { archiveB.values[$0] },
        isEqual: { $0.isIdentical(to: $1, distinguishesNaN: options.distinguishesNaN) },
        describe: \.fullDescription) : []
    metadata =
      comparesTexts
      ? ValueDifference.all(
        names: Array(archiveA.metadata.keys) + archiveB.metadata.keys,
        a: { archiveA.metadata[$0] }, b: { archiveB.metadata[$0] }, isEqual: ==,
        describe: { $0 }) : []
    isSame =
      changed.isEmpty && onlyInA.isEmpty && onlyInB.isEmpty && values.isEmpty
      && (options.acceptsOtherLayouts || (renamed.isEmpty && relaid.isEmpty))
    verdict = ""
    verdict = verdictLine
  }

  /// The smallest memory budget in bytes, so that small tensors do not wait for one another.
  private static let leastBudget = 64 << 20

  /// Returns one result per pair, comparing the largest pairs first.
  private static func compare(
    _ pairs: [TensorPair], _ options: Options, _ budget: MemoryBudget,
    _ progress: (@Sendable (_ byteCount: Int) -> Void)?
  ) throws -> [TensorComparer.Outcome] {
    let order = pairs.indices.sorted {
      (pairs[$1].byteCount, $0) < (pairs[$0].byteCount, $1)
    }
    let found = try parallelMap(count: order.count, threads: options.threads) { index in
      let pair = pairs[order[index]]
      let comparer = TensorComparer(
        tolerance: options.tolerance(for: pair.a.name),
        ignoresElementTypes: options.ignoresElementTypes,
        distinguishesNaN: options.distinguishesNaN,
        includesConditionNumbers: options.includesConditionNumbers, threads: options.threads)
      defer { progress?(pair.a.tensor.byteCount) }
      return try budget.using(pair.byteCount) { try comparer.compare(pair) }
    }
    var outcomes = [TensorComparer.Outcome](repeating: .same, count: pairs.count)
    for (index, outcome) in zip(order, found) { outcomes[index] = outcome }
    return outcomes
  }

  private static func side(_ archive: TensorArchive, file: String, tensors: [NamedTensor]) -> Side {
    Side(
      file: file, format: archive.format?.name, tensorCount: tensors.count,
      tensorByteCount: tensors.reduce(0) { $0 + $1.tensor.byteCount },
      groups: archive.groups.nilIfEmpty)
  }

  private static func unmatched(_ named: NamedTensor) -> UnmatchedTensor {
    UnmatchedTensor(
      name: named.original, elementType: named.side.elementType,
      shape: named.tensor.shape.dimensions)
  }
}
