import Formats
import LinearAlgebra

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
  /// - Throws: `FormatError` when a tensor cannot be read, all of them are ignored, or a glob or a
  ///   part of the name map matches nothing in either file; `LAPACKError` when singular values cannot be found.
  public init(
    _ archiveA: TensorArchive, _ archiveB: TensorArchive, fileA: String, fileB: String,
    options: Options = Options(), progress: (@Sendable (_ byteCount: Int) -> Void)? = nil
  ) throws {
    options.check()
    var pairing = try Pairing(archiveA, archiveB, options: options)
    guard pairing.hasTensors || (archiveA.tensors.isEmpty && archiveB.tensors.isEmpty) else {
      throw FormatError.mismatch(expected: "a tensor that is not ignored", found: "none")
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
