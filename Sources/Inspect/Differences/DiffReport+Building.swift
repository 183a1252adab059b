import Formats
import Foundation
import LinearAlgebra

extension DiffReport {
  /// What counts as a difference.
  public struct Options: Sendable {
    /// Tensors to compare; all of them when empty. Each glob must match in at least one file. Values
    /// and metadata are compared only when empty.
    public var tensors: [NameGlob] = []
    /// Absolute differences up to this many are none; not negative.
    public var tolerance = 0.0
    /// Whether equal numbers of another element type are the same.
    public var ignoresElementTypes = false
    /// At least 1.
    public var threads = ProcessInfo.processInfo.activeProcessorCount

    public init() {}
  }

  /// Compares archive `b`, the new one, with archive `a`, the old one, tensor by tensor.
  ///
  /// Tensors of equal type are the same when their bytes or, up to the tolerance, their numbers are
  /// equal; numbers of different types are compared in double precision. NaN equals NaN.
  ///
  /// - Parameters:
  ///   - fileA: the path of `a`, for the report.
  ///   - fileB: the path of `b`, for the report.
  ///   - progress: called on any thread after each pair, with its name.
  /// - Throws: `FormatError` when a tensor cannot be read, or a glob matches none in either file.
  public init(
    _ archiveA: TensorArchive, _ archiveB: TensorArchive, fileA: String, fileB: String,
    options: Options = Options(), progress: (@Sendable (_ tensor: String) -> Void)? = nil
  ) throws {
    precondition(options.tolerance >= 0, "a tolerance is not negative")
    let isSelected = try Self.selection(archiveA, archiveB, options.tensors)
    let namesA = Array(archiveA.tensors.keys).filter(isSelected)
    let namesB = Array(archiveB.tensors.keys).filter(isSelected)
    let shared = namesA.filter { archiveB.tensors[$0] != nil }
    let differences = try Self.compare(shared, archiveA, archiveB, options, progress)

    let leftA = namesA.filter { archiveB.tensors[$0] == nil }
    let leftB = namesB.filter { archiveA.tensors[$0] == nil }
    let pairs = try RenameSearch(
      archiveA: archiveA, archiveB: archiveB, threads: options.threads
    ).pairs(leftA, leftB)
    let renamedA = Set(pairs.map(\.a))
    let renamedB = Set(pairs.map(\.b))

    a = Self.side(archiveA, file: fileA, names: namesA)
    b = Self.side(archiveB, file: fileB, names: namesB)
    tolerance = options.tolerance
    same = zip(shared, differences).compactMap { $1 == nil ? $0 : nil }
    changed = differences.compactMap { $0 }
    renamed = pairs.compactMap { pair in
      archiveA.tensors[pair.a].map {
        RenamedTensor(
          nameA: pair.a, nameB: pair.b, elementType: $0.elementType.rawValue,
          shape: $0.shape.dimensions)
      }
    }
    onlyInA = Self.unmatched(leftA.filter { !renamedA.contains($0) }, in: archiveA)
    onlyInB = Self.unmatched(leftB.filter { !renamedB.contains($0) }, in: archiveB)
    let comparesTexts = options.tensors.isEmpty
    values =
      comparesTexts
      ? ValueDifference.all(
        names: Array(archiveA.values.keys) + archiveB.values.keys, a: { archiveA.values[$0] },
        b: { archiveB.values[$0] }, isEqual: { $0.isIdentical(to: $1) },
        describe: \.fullDescription) : []
    metadata =
      comparesTexts
      ? ValueDifference.all(
        names: Array(archiveA.metadata.keys) + archiveB.metadata.keys,
        a: { archiveA.metadata[$0] }, b: { archiveB.metadata[$0] }, isEqual: ==,
        describe: { $0 }) : []
    isSame =
      changed.isEmpty && renamed.isEmpty && onlyInA.isEmpty && onlyInB.isEmpty && values.isEmpty
  }

  private static func selection(_ a: TensorArchive, _ b: TensorArchive, _ globs: [NameGlob]) throws
    -> (String) -> Bool
  {
    guard !globs.isEmpty else { return { _ in true } }
    let all = Array(a.tensors.keys) + b.tensors.keys.filter { a.tensors[$0] == nil }
    let selected = Set(try all.matching(globs))
    return { selected.contains($0) }
  }

  /// One result a name, in the order of `names`; the largest pairs are compared first.
  private static func compare(
    _ names: [String], _ a: TensorArchive, _ b: TensorArchive, _ options: Options,
    _ progress: (@Sendable (_ tensor: String) -> Void)?
  ) throws -> [TensorDifference?] {
    let comparer = TensorComparer(
      tolerance: options.tolerance, ignoresElementTypes: options.ignoresElementTypes)
    let sizes = names.map { a.tensors[$0]?.byteCount ?? 0 }
    let order = names.indices.sorted { (sizes[$1], $0) < (sizes[$0], $1) }
    let found = try parallelMap(count: order.count, threads: options.threads) { index in
      let name = names[order[index]]
      defer { progress?(name) }
      guard let tensorA = a.tensors[name], let tensorB = b.tensors[name] else {
        return TensorDifference?.none
      }
      return try comparer.difference(name: name, tensorA, tensorB)
    }
    var differences = [TensorDifference?](repeating: nil, count: names.count)
    for (index, difference) in zip(order, found) { differences[index] = difference }
    return differences
  }

  private static func side(_ archive: TensorArchive, file: String, names: [String]) -> Side {
    Side(
      file: file, format: archive.format?.name, tensorCount: names.count,
      tensorByteCount: names.reduce(0) { $0 + (archive.tensors[$1]?.byteCount ?? 0) })
  }

  private static func unmatched(_ names: [String], in archive: TensorArchive) -> [UnmatchedTensor] {
    names.compactMap { name in
      archive.tensors[name].map {
        UnmatchedTensor(
          name: name, elementType: $0.elementType.rawValue, shape: $0.shape.dimensions)
      }
    }
  }
}
