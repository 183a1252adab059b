import Formats
import LinearAlgebra
import OrderedCollections
import Reports
import Storage

/// The assignment of tensors of A to tensors of B.
struct Pairing {
  /// Tensors with the same name, then parts of fused ones.
  private(set) var pairs: [TensorPair] = []
  /// Tensors fused in one file and split in the other, whose parts are among the pairs.
  private(set) var relaid: [RelaidTensor] = []
  private(set) var onlyInA: [NamedTensor]
  private(set) var onlyInB: [NamedTensor]
  /// All tensors that are compared.
  let all: (a: [NamedTensor], b: [NamedTensor])

  var hasTensors: Bool { !all.a.isEmpty || !all.b.isEmpty }

  /// Pairs the tensors of two archives.
  ///
  /// - Throws: `ModelError` if a glob or a part of the name map matches nothing.
  init(_ a: TensorArchive, _ b: TensorArchive, options: DiffReport.Options) throws {
    let (all, isIncluded) = try Self.named(a, b, options)
    self.all = (all.a.filter(isIncluded), all.b.filter(isIncluded))
    let inA = Set(self.all.a.map(\.name))
    var inB: [String: NamedTensor] = [:]
    for tensor in self.all.b { inB[tensor.name] = tensor }
    onlyInA = []
    for tensor in self.all.a {
      if let other = inB[tensor.name] {
        pairs.append(TensorPair(a: tensor, b: other))
      } else {
        onlyInA.append(tensor)
      }
    }
    onlyInB = self.all.b.filter { !inA.contains($0.name) }
    try pairFusedWeights()
    try Self.check(options.tolerances.map(\.glob), matchOneOf: pairs.map(\.a.name))
  }

  private mutating func pairFusedWeights() throws {
    for isFusedInA in [true, false] {
      let matches =
        isFusedInA
        ? FusedWeights.matches(onlyInA, onlyInB) : FusedWeights.matches(onlyInB, onlyInA)
      for match in matches {
        let parts = try match.parts()
        let (whole, split) = ([match.fused.original], match.split.map(\.original))
        if isFusedInA {
          pairs += zip(parts, match.split).map { TensorPair(a: $0, b: $1) }
          relaid.append(RelaidTensor(namesA: whole, namesB: split, change: .split))
        } else {
          pairs += zip(match.split, parts).map { TensorPair(a: $0, b: $1) }
          relaid.append(RelaidTensor(namesA: split, namesB: whole, change: .fused))
        }
        let taken = Set(whole + split)
        onlyInA.removeAll { taken.contains($0.original) }
        onlyInB.removeAll { taken.contains($0.original) }
      }
    }
  }

  /// Removes renamed tensors from those found in only one file.
  mutating func remove(_ renamed: [TensorPair]) {
    let (a, b) = (Set(renamed.map(\.a.original)), Set(renamed.map(\.b.original)))
    onlyInA.removeAll { a.contains($0.original) }
    onlyInB.removeAll { b.contains($0.original) }
  }

  private static func named(
    _ a: TensorArchive, _ b: TensorArchive, _ options: DiffReport.Options
  ) throws -> (all: (a: [NamedTensor], b: [NamedTensor]), isIncluded: (NamedTensor) -> Bool) {
    let names = try options.names.mapped(Array(a.tensors.keys), Array(b.tensors.keys))
    func named(_ archive: TensorArchive, _ mapped: [String]) -> [NamedTensor] {
      zip(archive.tensors, mapped).map {
        NamedTensor(original: $0.key, name: $1, tensor: $0.value)
      }
    }
    let all = (a: named(a, names.a), b: named(b, names.b))
    let tensorNames = Array(OrderedSet(names.a + names.b))
    let valueNames = Array(a.values.keys) + b.values.keys
    try check(options.ignored, matchOneOf: tensorNames + valueNames)
    let selected = options.tensors.isEmpty ? nil : Set(try tensorNames.matching(options.tensors))
    return (
      all,
      { tensor in
        selected?.contains(tensor.name) ?? true
          && !options.ignored.contains { $0.matches(tensor.name) }
      }
    )
  }

  private static func check(_ globs: [NameGlob], matchOneOf names: [String]) throws {
    for glob in globs where !names.contains(where: glob.matches) {
      throw ModelError.mismatch(
        expected: "a name that matches '\(glob.pattern)'", found: "none")
    }
  }
}

/// A tensor with its original name and the name used for comparison.
struct NamedTensor: Sendable {
  /// The name in the file.
  let original: String
  /// The name after applying the name map.
  let name: String
  let tensor: Tensor

  var side: TensorDifference.Side {
    TensorDifference.Side(
      elementType: tensor.unreadableType ?? tensor.elementType.rawValue,
      shape: tensor.shape.dimensions)
  }
}

/// Two tensors to compare.
struct TensorPair: Sendable {
  let a: NamedTensor
  let b: NamedTensor

  /// The number of bytes that loading both takes.
  var byteCount: Int { a.tensor.byteCount + b.tensor.byteCount }
}

/// Pairs tensors whose names are in only one archive with equal tensors of other names.
struct RenameSearch {
  let threads: Int
  let budget: MemoryBudget

  private struct Content: Hashable {
    let elementType: ElementType
    let unreadableType: String?
    let shape: Shape
    let digest: Int
  }

  /// Pairs equal tensors. Several equal ones are paired in the order of their archives; empty
  /// tensors are ignored.
  ///
  /// - Returns: The pairs in the order of `a`.
  func pairs(_ a: [NamedTensor], _ b: [NamedTensor]) throws -> [TensorPair] {
    let common = Set(a.map(Self.outline)).intersection(b.map(Self.outline))
    let contentsA = try contents(of: a, outlines: common)
    let contentsB = try contents(of: b, outlines: common)

    var candidates: [Content: [NamedTensor]] = [:]
    for (tensor, content) in contentsB { candidates[content, default: []].append(tensor) }
    var pairs: [TensorPair] = []
    for (tensor, content) in contentsA {
      guard let others = candidates[content],
        let index = try others.firstIndex(where: { try Self.isEqual(tensor, $0) })
      else { continue }
      pairs.append(TensorPair(a: tensor, b: others[index]))
      candidates[content]?.remove(at: index)
    }
    return pairs
  }

  private static func outline(_ named: NamedTensor) -> Content {
    Content(
      elementType: named.tensor.elementType, unreadableType: named.tensor.unreadableType,
      shape: named.tensor.shape, digest: 0)
  }

  private func contents(of tensors: [NamedTensor], outlines: Set<Content>) throws
    -> [(tensor: NamedTensor, content: Content)]
  {
    let tensors = tensors.filter {
      $0.tensor.byteCount > 0 && outlines.contains(Self.outline($0))
    }
    return try parallelMap(count: tensors.count, threads: threads) { index in
      let named = tensors[index]
      return try budget.using(named.tensor.byteCount) {
        var hasher = Hasher()
        try locatingErrors(tensor: named.original) { try named.tensor.comparableBytes() }
          .withUnsafeBytes {
            hasher.combine(bytes: $0)
          }
        let content = Content(
          elementType: named.tensor.elementType, unreadableType: named.tensor.unreadableType,
          shape: named.tensor.shape, digest: hasher.finalize())
        return (named, content)
      }
    }
  }

  /// Compares the bytes, because equal digests prove nothing.
  private static func isEqual(_ a: NamedTensor, _ b: NamedTensor) throws -> Bool {
    try a.tensor.comparableBytes().elementsEqual(try b.tensor.comparableBytes())
  }
}

/// A listing with one line per tensor, value and metadata text of a model file, which `git diff`
/// compares if it is configured to convert model files to text.
package struct ArchiveListing: Sendable {
  /// The lines without line breaks: tensors in file order, then values, then metadata.
  package let lines: [String]

  /// Lists an archive.
  ///
  /// - Parameter threads: The number of threads, at least 1; the lines do not depend on it.
  /// - Throws: `ModelError` if a tensor cannot be read.
  package init(_ archive: TensorArchive, threads: Int) throws {
    let tensors = Array(archive.tensors)
    let budget = MemoryBudget(limit: max(1 << 26, tensors.map(\.value.byteCount).max() ?? 0))
    let listed = try parallelMap(count: tensors.count, threads: threads) { index in
      let (name, tensor) = tensors[index]
      let digest = try budget.using(tensor.byteCount) {
        try locatingErrors(tensor: name) { try tensor.comparableBytes().sha256 }
      }
      let shape = ReportShape(tensor.shape.dimensions).forPrograms
      let type = tensor.unreadableType ?? tensor.elementType.rawValue
      return "tensor \(name) \(type) [\(shape)] sha256:\(digest)"
    }
    let values = archive.values.map { "value \($0) = \($1.fullDescription)" }
    let metadata = archive.metadata.map { "metadata \($0) = \($1)" }
    lines = (listed + values + metadata).map(\.escapingControlCharacters)
  }
}
