import Formats
import LinearAlgebra

/// Pairs tensors that only one archive names with equal ones of another name.
struct RenameSearch {
  let threads: Int
  let budget: MemoryBudget

  private struct Content: Hashable {
    let elementType: ElementType
    let unreadableType: String?
    let shape: Shape
    let digest: Int
  }

  /// Equal tensors of which there are several are paired in the order of their archives. Empty
  /// tensors are left alone.
  ///
  /// - Returns: pairs in the order of `a`.
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

  /// A digest alone proves nothing.
  private static func isEqual(_ a: NamedTensor, _ b: NamedTensor) throws -> Bool {
    try a.tensor.comparableBytes().elementsEqual(try b.tensor.comparableBytes())
  }
}
