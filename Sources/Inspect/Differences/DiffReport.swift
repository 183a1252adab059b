import Formats
import FoundationEssentials
import LinearAlgebra
import Reports
import Storage

/// What differs between two model files, of whatever formats.
public struct DiffReport: Codable, Hashable, Sendable {
  /// The version of the JSON form, `schemas/diff-report.schema.json`.
  package static let currentSchemaVersion = 2

  /// One of the two files, and how much of it is compared.
  public struct Side: Codable, Hashable, Sendable {
    /// The path as the user gave it.
    public var file: String
    /// `FormatIdentifier.name`; `nil` for archives made in memory.
    public var format: String?
    /// How many tensors are compared.
    public var tensorCount: Int
    /// Bytes of those tensors, each counted as often as it is named.
    public var tensorByteCount: Int
    /// Stored tensors that belong together, put together or not; `nil` where there are none.
    public var groups: [TensorGroup]?
  }

  /// The version of the JSON form.
  public var schemaVersion = Self.currentSchemaVersion
  /// The first file, which differences start from.
  public var a: Side
  /// The second file.
  public var b: Side
  /// Absolute differences up to this many are none.
  public var tolerance: Double
  /// What counts instead for tensors of some names.
  public var tolerances: [NamedTolerance]
  /// Whether no tensor and no value differs and each name is in both. Metadata plays no part: it
  /// is free text, of which every format has its own.
  public var isSame: Bool
  /// The result in one line.
  public var verdict: String
  /// Tensors that are the same under the same name, in A's order.
  public var same: [String]
  /// Tensors of the same name that differ, in A's order.
  public var changed: [TensorDifference]
  /// Tensors found under another name, in A's order.
  public var renamed: [RenamedTensor]
  /// Tensors that are laid out otherwise: transposed, fused or split.
  public var relaid: [RelaidTensor]
  /// Tensors of A without a counterpart in B, in A's order.
  public var onlyInA: [UnmatchedTensor]
  /// Tensors of B without a counterpart in A, in B's order.
  public var onlyInB: [UnmatchedTensor]
  /// Leaves that are no tensors.
  public var values: [ValueDifference]
  /// Free texts about the files as a whole; they never make files different.
  public var metadata: [ValueDifference]
}

extension DiffReport {
  /// What counts as a difference.
  public struct Options: Sendable {
    /// Tensors to compare; all of them when empty. Each glob must match in at least one file. Values
    /// and metadata are compared only when empty.
    public var tensors: [NameGlob] = []
    /// Tensors and values that are left out. Each glob must match in at least one file.
    public var ignored: [NameGlob] = []
    /// Absolute differences up to this many are none; not negative.
    public var tolerance = 0.0
    /// What counts instead for tensors of some names: the first that matches. Each glob must match
    /// a tensor that is compared.
    public var tolerances: [(glob: NameGlob, tolerance: Double)] = []
    /// Whether equal numbers of another element type are the same.
    public var ignoresElementTypes = false
    /// Whether NaN differs from NaN, as in IEEE 754. Otherwise NaN equals NaN, whatever its bits.
    public var distinguishesNaN = false
    /// Whether tensors count as the same that are only named otherwise, transposed, fused or split.
    public var acceptsOtherLayouts = false
    /// Whether to compute both condition numbers of each changed matrix.
    public var includesConditionNumbers = false
    /// How names of A become names of B. Globs are matched against the names after that.
    public var names = NameMap()
    /// Threads that compare, at least 1; the report does not depend on it.
    public var threads = ProcessInfo.processInfo.activeProcessorCount

    public init() {}

    func tolerance(for name: String) -> Double {
      tolerances.first { $0.glob.matches(name) }?.tolerance ?? tolerance
    }

    func check() {
      precondition(
        tolerance >= 0 && tolerances.allSatisfy { $0.tolerance >= 0 }, "a tolerance is not negative"
      )
      precondition(threads >= 1, "at least one thread is needed")
    }
  }
}

/// The tolerance for tensors whose name matches a pattern.
public struct NamedTolerance: Codable, Hashable, Sendable {
  /// The glob that the tensors' names match.
  public var pattern: String
  /// Absolute differences up to this many are none.
  public var tolerance: Double
}

extension DiffReport {
  /// The result in one line, made from the rest of the report.
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
  /// Tensors of equal type are the same when their bytes or, up to the tolerance, their numbers are
  /// equal; numbers of different types are compared in double precision. Where bytes are equal no
  /// number is looked at. What has to be loaded for that is bounded by the largest pair of tensors,
  /// whatever the number of threads; condition numbers take a few times as much.
  ///
  /// - Parameters:
  ///   - fileA: the path of `a`, for the report.
  ///   - fileB: the path of `b`, for the report.
  ///   - progress: called on any thread after each pair, with its bytes in `a`.
  /// - Throws: `ModelError` when a tensor cannot be read, all of them are ignored, or a glob or a
  ///   part of the name map matches nothing in either file; `LAPACKError` when singular values cannot be found.
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

  /// Bytes that tensors in work may always take together, so that small ones do not wait.
  private static let leastBudget = 64 << 20

  /// One result a pair; the largest pairs are compared first.
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
