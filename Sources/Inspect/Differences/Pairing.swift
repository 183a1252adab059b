import Formats
import OrderedCollections

/// Which tensor of A is compared with which of B.
struct Pairing {
  /// Tensors of the same name, then parts of fused ones.
  private(set) var pairs: [TensorPair] = []
  /// Tensors that one file has fused and the other split; their parts are among the pairs.
  private(set) var relaid: [RelaidTensor] = []
  private(set) var onlyInA: [NamedTensor]
  private(set) var onlyInB: [NamedTensor]
  /// All tensors that take part.
  let all: (a: [NamedTensor], b: [NamedTensor])

  var hasTensors: Bool { !all.a.isEmpty || !all.b.isEmpty }

  /// - Throws: `FormatError` when a glob or a part of the name map matches nothing.
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

  /// Takes tensors that were found under another name from what only one file has.
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
      throw FormatError.mismatch(
        expected: "a name that matches '\(glob.pattern)'", found: "none")
    }
  }
}
